/**
 * The error catalogue. No HTTP, no protocol words: every door maps these codes with a table
 * `satisfies Record<ErrorCode, …>`.
 *
 * `retryable` says whether the same request may succeed later without anybody changing it; a Task
 * that meets a retryable error is PAUSED, any other makes it FAILURE.
 */
export const errorCatalogue = {
  'bad-request': { retryable: false, title: 'The request cannot be understood' },
  unauthenticated: { retryable: false, title: 'Nobody is signed in' },
  forbidden: { retryable: false, title: 'Not allowed' },
  'not-found': { retryable: false, title: 'There is no such thing' },
  'name-ambiguous': { retryable: false, title: 'Several things have this name' },
  conflict: { retryable: false, title: 'It is in another state' },
  'already-exists': { retryable: false, title: 'It exists already' },
  'in-use': { retryable: false, title: 'It is in use' },
  'last-copy': { retryable: false, title: 'It is the last copy of what cannot be fetched again' },
  'range-conflict': { retryable: false, title: 'Other bytes were received here before' },
  'out-of-range': { retryable: false, title: 'The range lies outside' },
  incomplete: { retryable: false, title: 'Bytes are missing' },
  'size-mismatch': { retryable: false, title: 'The size is not the declared one' },
  'digest-mismatch': { retryable: false, title: 'The bytes are not the ones that were sent' },
  'format-unsafe': { retryable: false, title: 'The format is unsafe' },
  'format-mismatch': { retryable: false, title: 'The format is not the declared one' },
  'quota-exceeded': { retryable: true, title: 'The quota is reached' },
  'too-large': { retryable: false, title: 'It is larger than allowed' },
  'store-full': { retryable: true, title: 'The store is full' },
  'store-failed': { retryable: true, title: 'The store failed' },
  'source-changed': { retryable: false, title: 'The source has changed' },
  corrupt: { retryable: false, title: 'Stored bytes are damaged' },
  paused: { retryable: true, title: 'It is paused' },
  expired: { retryable: false, title: 'It has expired' },
  cancelled: { retryable: false, title: 'It was cancelled' },
  fenced: { retryable: false, title: 'A newer generation has taken over' },
  'too-many': { retryable: true, title: 'Too many requests' },
  unavailable: { retryable: true, title: 'Not reachable now' },
  'connection-lost': { retryable: true, title: 'The connection was lost' },
  unsupported: { retryable: false, title: 'Not supported' },
  internal: { retryable: true, title: 'A fault in Hawser' },
} as const satisfies Record<string, { readonly retryable: boolean; readonly title: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** Facts beside the message, for programs. Never host paths, keys or tokens. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/**
 * The one error of Hawser. `message` is for who must act and says what was wanted, what was found
 * and what to do.
 */
export class HawserError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'HawserError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get retryable(): boolean {
    return errorCatalogue[this.code].retryable;
  }
}

export function isHawserError(error: unknown, code?: ErrorCode): error is HawserError {
  return error instanceof HawserError && (code === undefined || error.code === code);
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorCatalogue, value);
}

/** The error as a HawserError: itself, or `internal` (or `code`) with the foreign one as its cause. */
export function toHawserError(error: unknown, code: ErrorCode = 'internal'): HawserError {
  if (error instanceof HawserError) return error;
  return new HawserError(code, error instanceof Error ? error.message : String(error), { cause: error });
}
