import type { ErrorCode } from '../../core/errors.ts';

/** What Longhorn's two HTTP interfaces answer. The original says 500 to everything. */
const statuses = {
  'bad-request': 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  'name-ambiguous': 409,
  conflict: 409,
  'already-exists': 409,
  'in-use': 409,
  'last-copy': 409,
  'range-conflict': 409,
  'out-of-range': 413,
  incomplete: 409,
  'size-mismatch': 422,
  'digest-mismatch': 422,
  'format-unsafe': 422,
  'format-mismatch': 422,
  'quota-exceeded': 507,
  'too-large': 413,
  'store-full': 507,
  'store-failed': 503,
  'source-changed': 409,
  corrupt: 500,
  paused: 409,
  expired: 410,
  cancelled: 410,
  fenced: 409,
  'too-many': 429,
  unavailable: 503,
  'connection-lost': 400,
  unsupported: 422,
  internal: 500,
} as const satisfies Record<ErrorCode, number>;

export function statusOf(code: ErrorCode): number {
  return statuses[code];
}
