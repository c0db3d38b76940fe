import { type ErrorCode, isHawserError } from '../../core/errors.ts';
import { WireError } from './wire-error.ts';

/**
 * What an error of ours is on this wire; `silent` ends the connection without a word. Most of them mean that the
 * Device failed: the client is told no more than that, and the log has the rest.
 */
const answers = {
  'bad-request': 400,
  unauthenticated: 403,
  forbidden: 403,
  'not-found': 500,
  'name-ambiguous': 500,
  conflict: 500,
  'already-exists': 500,
  'in-use': 500,
  'last-copy': 500,
  'range-conflict': 500,
  'out-of-range': 416,
  incomplete: 400,
  'size-mismatch': 500,
  'digest-mismatch': 500,
  'format-unsafe': 500,
  'format-mismatch': 500,
  'quota-exceeded': 500,
  'too-large': 500,
  'store-full': 500,
  'store-failed': 500,
  'source-changed': 500,
  corrupt: 500,
  paused: 403,
  expired: 403,
  cancelled: 403,
  fenced: 503,
  'too-many': 503,
  unavailable: 503,
  'connection-lost': 'silent',
  unsupported: 500,
  internal: 500,
} as const satisfies Record<ErrorCode, number | 'silent'>;

const OURS = 'Server failed to perform the request, check logs';

/** Undefined: the connection is cut. */
export function refusalOf(error: unknown): WireError | undefined {
  if (error instanceof WireError) return error;
  if (!isHawserError(error)) return new WireError(500, OURS);
  const status = answers[error.code];
  if (status === 'silent') return undefined;
  if (status >= 500) return new WireError(status, OURS, { close: status === 503 });
  if (status !== 403) return new WireError(status, error.message);
  return new WireError(403, `You are not allowed to access this resource: ${reasonOf(error.code, error.details)}`, {
    close: true,
  });
}

/** As the original says it: "Transfer=T expired". */
function reasonOf(code: ErrorCode, details: Readonly<Record<string, unknown>>): string {
  const transfer = `Transfer=${details.label}`;
  if (code === 'expired') return `${transfer} expired`;
  if (code === 'cancelled') return `${transfer} was canceled`;
  if (typeof details.op === 'string') return `${transfer} forbids ${details.op}`;
  return 'the device forbids it';
}

/** For a ticket that is not there. */
export function noSuchTicket(id: string): WireError {
  return new WireError(403, `You are not allowed to access this resource: No such ticket ${id}`, { close: true });
}
