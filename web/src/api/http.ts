import type { Problem } from '../../../src/contract/api/common.ts';
import { HawserError, isErrorCode } from '../../../src/core/errors.ts';

const PREFIX = '/api/v1';

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** The path below the API with its query; undefined and empty values are left out. */
export function apiPath(path: string, query: RequestOptions['query'] = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return `${PREFIX}${path}${text === '' ? '' : `?${text}`}`;
}

/**
 * One JSON call. The server's own answers are trusted to have the contract's shape, so that the page
 * need not carry the schemas. Throws HawserError; `details.next` is the step the server proposes.
 */
export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const response = await send(method, path, options);
  if (!response.ok) throw await errorOf(response);
  if (response.status === 204 || response.headers.get('content-length') === '0') return undefined as T;
  return (await response.json()) as T;
}

async function send(method: string, path: string, options: RequestOptions): Promise<Response> {
  const hasBody = options.body !== undefined;
  try {
    return await fetch(apiPath(path, options.query), {
      method,
      credentials: 'same-origin',
      headers: {
        accept: 'application/json',
        ...(hasBody ? { 'content-type': 'application/json' } : {}),
        ...options.headers,
      },
      ...(hasBody ? { body: JSON.stringify(options.body) } : {}),
      signal: options.signal ?? null,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new HawserError('unavailable', 'Hawser does not answer. Is the server running, and this machine online?', {
      cause: error,
    });
  }
}

async function errorOf(response: Response): Promise<HawserError> {
  const text = await response.text();
  const found = problemOf(text);
  if (found === undefined) {
    return new HawserError('unavailable', `The server answered ${response.status} ${response.statusText}.`, {
      details: { status: response.status },
    });
  }
  return new HawserError(found.code, found.detail, {
    details: { ...found.details, status: found.status, next: found.next, requestId: found.requestId },
  });
}

function problemOf(text: string): Problem | undefined {
  try {
    const value = JSON.parse(text) as Partial<Problem> | null;
    return isErrorCode(value?.code) ? (value as Problem) : undefined;
  } catch {
    return undefined;
  }
}
