import type { Problem } from '../../contract/api/common.ts';
import { type ErrorCode, errorCatalogue, HawserError, isHawserError } from '../../core/errors.ts';

/** What HTTP says for each error code, and the step that a person takes next. `docs/errors.md` is generated from it. */
export const problemTable = {
  'bad-request': { status: 400, next: 'Change the request as the detail says. /api/v1/openapi.json has every route.' },
  unauthenticated: {
    status: 401,
    next: 'Sign in, or send "authorization: Bearer TOKEN". The admin token is in run/admin-token of the data folder.',
  },
  forbidden: { status: 403, next: 'Ask an administrator, or use an account that may do this.' },
  'not-found': { status: 404, next: 'Check the id or the name; a list shows what you may see.' },
  'name-ambiguous': { status: 409, next: 'Use the id instead of the name.' },
  conflict: { status: 409, next: 'Look at its state and try what that state allows.' },
  'already-exists': { status: 409, next: 'Use the one that exists or choose another name.' },
  'in-use': { status: 409, next: 'Wait for or cancel the Task that uses it.' },
  'last-copy': { status: 409, next: 'Make another Copy or download it first.' },
  'range-conflict': {
    status: 409,
    next: 'If the new bytes are right, discard the range (POST …/discard) and send it again.',
  },
  'out-of-range': { status: 416, next: 'Ask for a range inside the size.' },
  incomplete: { status: 409, next: 'Send what details.missing lists (or GET …/ranges), then finish again.' },
  'size-mismatch': { status: 422, next: 'Check that the source is whole and unchanged, then send it again.' },
  'digest-mismatch': { status: 422, next: 'Send these bytes again; if it stays so, check the source.' },
  'format-unsafe': { status: 422, next: 'Convert it to raw, or to a file that stands alone, and send that.' },
  'format-mismatch': { status: 422, next: 'Leave the format out (auto) or declare the one that was found.' },
  'quota-exceeded': { status: 507, next: 'Remove what is not needed, or ask for a larger quota.' },
  'too-large': { status: 413, next: 'Send less at once, or ask an administrator to raise the limit.' },
  'store-full': { status: 507, next: 'Free space on the Store or use another one, then resume.' },
  'store-failed': { status: 503, next: 'Look at the Store (its status and the log), repair it, then resume.' },
  'source-changed': { status: 409, next: 'Begin again from the source as it is now.' },
  corrupt: { status: 500, next: 'Do not use these bytes; upload it again or use another Copy.' },
  paused: { status: 409, next: 'Resume its Task, then go on.' },
  expired: { status: 410, next: 'Begin again.' },
  cancelled: { status: 410, next: 'Begin again if it is still wanted.' },
  fenced: { status: 409, next: 'Read its state again and go on from there.' },
  'too-many': { status: 429, next: 'Wait as long as Retry-After says.' },
  unavailable: { status: 503, next: 'Try again in a few seconds; if it lasts, look at /readyz and the log.' },
  'connection-lost': { status: 502, next: 'Go on where it stopped: what was acknowledged is kept.' },
  unsupported: { status: 422, next: 'Do it another way; /api/v1/openapi.json says what there is.' },
  internal: { status: 500, next: 'Look into the log for the request id; report it if it comes again.' },
} as const satisfies Record<ErrorCode, { readonly status: number; readonly next: string }>;

export const PROBLEM_TYPE = 'application/problem+json';

/** An answer: the status, the body, and the headers that go with it. */
export interface ProblemAnswer {
  readonly body: Problem;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The RFC 9457 answer for any thrown thing. A HawserError's own message is the detail; of any other
 * error nothing is told but that it happened, since its text may hold paths, addresses or secrets.
 * `status` is for HTTP's own refusals (415, 413, 405) that share a code.
 */
export function problemOf(error: unknown, requestId: string, status?: number): ProblemAnswer {
  const code: ErrorCode = isHawserError(error) ? error.code : 'internal';
  const { status: usual, next } = problemTable[code];
  const { title, retryable } = errorCatalogue[code];
  const details = isHawserError(error) ? error.details : {};
  const body: Problem = {
    type: `urn:hawser:error:${code}`,
    title,
    status: status ?? usual,
    detail: detailOf(error, requestId),
    code,
    next,
    retryable,
    requestId,
    ...(Object.keys(details).length > 0 && code !== 'internal' ? { details: { ...details } } : {}),
  };
  return { body, headers: headersFor(code, details) };
}

function detailOf(error: unknown, requestId: string): string {
  if (!(error instanceof HawserError) || error.code === 'internal') {
    return `Something failed inside Hawser. The log says what, under request id ${requestId}.`;
  }
  const cause = error.cause;
  if (!(cause instanceof Error)) return error.message;
  // A message that was taken over from the system names files of this host ("ENOSPC …, write '/srv/…'").
  if (cause.message !== '' && error.message === cause.message) {
    return `${errorCatalogue[error.code].title}. The log says more, under request id ${requestId}.`;
  }
  return pathsOf(cause).reduce((text, path) => text.replaceAll(path, '(a file on the host)'), error.message);
}

/** The file names that node puts on a system error. */
function pathsOf(cause: Error): readonly string[] {
  const facts = cause as { readonly path?: unknown; readonly dest?: unknown };
  return [facts.path, facts.dest].filter((path) => typeof path === 'string').filter((path) => path.length > 1);
}

function headersFor(code: ErrorCode, details: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  if (code === 'unauthenticated') return { 'www-authenticate': 'Bearer realm="hawser"' };
  const wait = details.retryAfterSeconds;
  if (typeof wait === 'number') return { 'retry-after': String(Math.ceil(wait)) };
  if (code === 'unavailable' || code === 'store-failed') return { 'retry-after': '5' };
  return {};
}
