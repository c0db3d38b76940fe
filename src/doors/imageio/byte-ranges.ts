import { repr } from './python-words.ts';
import { badRequest, notSatisfiable } from './wire-error.ts';

/** What a Range header asks for; positions of any size. `last` null: to the end. */
export interface WantedRange {
  readonly first: bigint;
  readonly last: bigint | null;
}

/**
 * `Range: bytes=a-b` or `bytes=a-`, exactly so: a request that is not understood must not be taken for one of the
 * whole. Throws 416 for everything else, the forms that RFC 9110 has beside these too.
 */
export function parseRange(header: string): WantedRange {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  if (match === null) {
    throw notSatisfiable(`Cannot satisfy range ${repr(header)}, invalid range or multiple ranges`);
  }
  const [first, last] = [match[1] ?? '', match[2] ?? ''];
  if (first === '' && last === '') throw notSatisfiable(`Cannot satisfy range ${repr(header)}, no first or last`);
  // "bytes=-0" is no suffix in the original: it is read as from 0. Here it is what it says, nothing.
  if (first === '') throw notSatisfiable('suffix-byte-range-spec not supported yet');
  if (last === '') return { first: BigInt(first), last: null };
  if (BigInt(first) > BigInt(last)) throw notSatisfiable(`Cannot satisfy range ${repr(header)}, first > last`);
  return { first: BigInt(first), last: BigInt(last) };
}

/** Where a body begins, by `Content-Range: bytes a-(b|*)/(n|*)`; how long it is Content-Length says alone. Throws 400. */
export function parseContentRange(header: string): bigint {
  const match = /^bytes (\d+)-(\d+|\*)\/(\d+|\*)$/.exec(header);
  if (match === null) throw badRequest(`Invalid Content-Range ${repr(header)}`);
  const first = BigInt(match[1] ?? '');
  const [last, complete] = [numberOrStar(match[2]), numberOrStar(match[3])];
  if (last !== null && last < first) throw badRequest(`Invalid Content-Range ${repr(header)}, first > last`);
  if (last !== null && complete !== null && last >= complete) {
    throw badRequest(`Invalid Content-Range ${repr(header)}, last >= complete`);
  }
  return first;
}

function numberOrStar(text: string | undefined): bigint | null {
  return text === undefined || text === '*' ? null : BigInt(text);
}
