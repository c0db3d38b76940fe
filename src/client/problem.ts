import { problem } from '../contract/api/common.ts';
import { type ErrorCode, HawserError } from '../core/errors.ts';

export interface Answered {
  readonly status: number;
  readonly body: string;
  /** Who answered, for the message: the URL without its query. */
  readonly url: string;
  readonly requestId?: string | null;
}

/**
 * The error that an answer stands for. From Hawser it is problem+json: its code and detail, and in
 * `details` what it said, `next`, `requestId` and `status`. Anything else came from something on the
 * way (a proxy): a code by its status, and `details.foreign` is true.
 */
export function errorOfAnswer({ status, body, url, requestId }: Answered): HawserError {
  const parsed = problem.safeParse(jsonOf(body));
  if (parsed.success) {
    const { code, detail, details, next, requestId } = parsed.data;
    return new HawserError(code, detail, { details: { ...details, next, requestId, status } });
  }
  const said = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 120);
  return new HawserError(
    foreignCode(status),
    `${url} answered ${status}${said === '' ? '' : ` ("${said}")`}, and not as Hawser does: something on the way, such as a proxy, may have answered.`,
    { details: { status, foreign: true, ...(requestId ? { requestId } : {}) } },
  );
}

/** No answer at all. */
export function errorOfConnection(url: string, cause: unknown): HawserError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const why = inner instanceof Error ? inner.message || inner.name : String(inner);
  return new HawserError('unavailable', `No answer from ${originOf(url)}: ${why}.`, {
    cause,
    details: {
      network: true,
      next: isUntrusted(inner) ? trustIt : 'Check that the server runs and that the address is right.',
    },
  });
}

const trustIt =
  'Its certificate is not one that is trusted here. Give it with --ca FILE (HAWSER_CA): keys/server.crt in the data folder of the server.';

function isUntrusted(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    /SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET_ISSUER)|CERT_UNTRUSTED/.test(error.code)
  );
}

function foreignCode(status: number): ErrorCode {
  const known: Readonly<Record<number, ErrorCode>> = {
    401: 'unauthenticated',
    403: 'forbidden',
    404: 'not-found',
    408: 'unavailable',
    409: 'conflict',
    413: 'too-large',
    416: 'out-of-range',
    429: 'too-many',
  };
  return known[status] ?? (status >= 500 ? 'unavailable' : 'bad-request');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function originOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return url;
  }
}
