import type { ErrorCode } from '../core/errors.ts';

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  changed: 5,
  signedOut: 6,
  unreachable: 7,
  interrupted: 130,
} as const;

const { failed, notFound, refused, changed, signedOut, unreachable } = exitCodes;

/** What a command ends with when it met this error. */
export const exitCodeOf = {
  'bad-request': failed,
  unauthenticated: signedOut,
  forbidden: refused,
  'not-found': notFound,
  'name-ambiguous': refused,
  conflict: refused,
  'already-exists': refused,
  'in-use': refused,
  'last-copy': refused,
  'range-conflict': changed,
  'out-of-range': failed,
  incomplete: failed,
  'size-mismatch': changed,
  'digest-mismatch': changed,
  'format-unsafe': refused,
  'format-mismatch': refused,
  'quota-exceeded': refused,
  'too-large': refused,
  'store-full': refused,
  'store-failed': failed,
  'source-changed': changed,
  corrupt: changed,
  paused: refused,
  expired: refused,
  cancelled: refused,
  fenced: refused,
  'too-many': unreachable,
  unavailable: unreachable,
  'connection-lost': unreachable,
  unsupported: failed,
  internal: failed,
} as const satisfies Record<ErrorCode, number>;

export const exitCodeHelp = `Exit codes:
  0  done                       4  refused, or in another state
  1  failed                     5  the source changed, or bytes are damaged
  2  wrong usage                6  not signed in
  3  there is no such thing     7  the server is not reachable
  130  interrupted`;
