import { HawserError, isHawserError } from '../../core/errors.ts';
import { sizeMismatch } from './upload-refusals.ts';

/** Indexes that an error names at most. */
export const MOST_MISSING = 1000;

/** What an upload server says when it will not. */
export function mustBeSame(wanted: number, sealed: number): void {
  if (wanted !== sealed) throw sizeMismatch(wanted, sealed);
}

export function sizeIsSet(wanted: number, found: number | null): HawserError {
  return new HawserError(
    'size-mismatch',
    `A size of ${wanted} bytes is wanted, but chunks of an upload of ${found ?? 'another number of'} bytes were received. Nothing was changed; cancel the upload to begin with another size.`,
    { details: { wanted, found } },
  );
}

export function notPrepared(index: number): HawserError {
  return new HawserError(
    'conflict',
    `Chunk ${index} was not prepared with this checksum. Call prepareChunk with its index, size and checksum, then send it.`,
    { details: { index } },
  );
}

export function preparedAnew(index: number): HawserError {
  return new HawserError(
    'conflict',
    `Chunk ${index} was prepared with another size or checksum while it was being sent. Nothing of it was kept; send the one that was prepared last.`,
    { details: { index } },
  );
}

export function roomMade(cause: unknown): HawserError {
  return new HawserError(
    'unavailable',
    'A chunk was put there meanwhile that may belong elsewhere. It has made room; ask for the received ranges and send the rest.',
    { cause },
  );
}

export function guessArriving(): HawserError {
  return new HawserError(
    'unavailable',
    'A chunk is just arriving of which nobody can say yet where it belongs. Finish again when it is there.',
  );
}

export function noRoomBeside(cause: HawserError): HawserError {
  return new HawserError(
    'store-full',
    `Nobody can say yet where this chunk belongs, and there is no room to keep it until then. Send the chunks with the lowest indexes first, or free some space.`,
    { details: cause.details, cause },
  );
}

export function closing(): HawserError {
  return new HawserError('unavailable', 'The upload server is closing. What was received is kept; send on later.');
}

/** An error of receiving, said of a chunk. */
export function ofChunk(chunk: { readonly index: number; readonly size: number }, error: unknown): unknown {
  const { index, size } = chunk;
  const about = { details: { index }, cause: error };
  if (isHawserError(error, 'digest-mismatch')) {
    return new HawserError(
      'digest-mismatch',
      `The bytes of chunk ${index} do not have the checksum that was announced: they were damaged on the way, or the file has changed. Nothing of it was kept; send it again.`,
      about,
    );
  }
  if (isHawserError(error, 'out-of-range')) {
    return new HawserError(
      'size-mismatch',
      `Chunk ${index} is longer than the ${size} bytes it was prepared with. Nothing of it was kept.`,
      about,
    );
  }
  return error;
}

export function chunksMissing(missing: readonly number[], count: number): HawserError {
  const list = runs(missing).join(', ');
  const what =
    missing.length === 0
      ? 'Bytes are missing that belong to no chunk'
      : `Missing ${missing.length === 1 ? 'is chunk' : 'are chunks'} ${list}${missing.length >= MOST_MISSING ? ' and more' : ''} of ${count}`;
  return new HawserError('incomplete', `${what}. Send what is missing, then coalesce again.`, {
    details: { missing, count },
  });
}

/** 1, 2, 3, 7 as "1-3", "7". */
function runs(sorted: readonly number[]): readonly string[] {
  const found: { from: number; to: number }[] = [];
  for (const index of sorted) {
    const last = found.at(-1);
    if (last !== undefined && last.to + 1 === index) last.to = index;
    else found.push({ from: index, to: index });
  }
  return found.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`));
}
