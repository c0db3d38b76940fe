import { HawserError } from '../../core/errors.ts';

/** Chunks of one Upload are counted up to here. */
const MOST_INDEX = 100_000_000;

/** A whole number of the query, in bytes or counted. */
export function number(query: URLSearchParams, name: string, least = 0): number {
  const text = query.get(name);
  const value = text === null || !/^\d{1,16}$/.test(text) ? Number.NaN : Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new HawserError(
    'bad-request',
    `"${name}" must be a whole number from ${least} on; found ${text === null ? 'none' : `"${text.slice(0, 50)}"`}.`,
  );
}

export function index(query: URLSearchParams): number {
  const value = number(query, 'index');
  if (value <= MOST_INDEX) return value;
  throw new HawserError('bad-request', `"index" counts chunks from 0; ${value} is more than there can be.`);
}

/** The first 64 hex digits of a SHA-512; all 128 are taken too. */
export function checksum(text: string | null): string {
  if (text !== null && /^(?:[0-9a-f]{64}|[0-9a-f]{128})$/i.test(text)) return text.slice(0, 64).toLowerCase();
  throw new HawserError(
    'bad-request',
    `"checksum" must be the first 64 hex digits of the SHA-512 of the chunk; found ${text === null ? 'none' : `${text.length} characters`}.`,
  );
}
