import { HawserError } from '../core/errors.ts';
import type { Range } from '../core/range.ts';

/**
 * What `inspect` reads from. `read` gives exactly `length` bytes; it is never asked for bytes at or beyond `size`.
 */
export interface FormatReader {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/**
 * A look at a file that does not know whether the file is here yet: it yields the range it wants and
 * gets the bytes of it that exist, fewer (or none) at the end of the file. Run over a head that has
 * arrived by `lookAtHead`, over a whole file by `lookAtFile`.
 */
export type Look<T> = Generator<Range, T, Uint8Array>;

/** Bytes of a file's head that are read at once; nearly every header fits. */
export const HEAD_BYTES = 64 * 1024;

/** The most that a look may ask for at once; asking for more is a fault of ours, not of the file. */
const MAX_REQUEST = 2 * 1024 * 1024;

/** Asks for `length` bytes at `offset`. Offsets that no file can have give no bytes. */
export function* bytesAt(offset: number, length: number): Look<Uint8Array> {
  if (length > MAX_REQUEST) throw new HawserError('internal', `A format look asked for ${length} bytes at once.`);
  if (length <= 0 || !Number.isSafeInteger(offset) || offset < 0) return new Uint8Array(0);
  return yield { offset, length };
}

/** The answer from the head alone, or undefined when the look needs bytes that have not arrived. */
export function lookAtHead<T>(look: Look<T>, head: Uint8Array): T | undefined {
  let step = look.next();
  while (step.done !== true) {
    const { offset, length } = step.value;
    if (offset + length > head.length) return undefined;
    step = look.next(head.subarray(offset, offset + length));
  }
  return step.value;
}

/** Runs the look over the file. Throws what the reader throws, and `store-failed` when it gives too few bytes. */
export async function lookAtFile<T>(look: Look<T>, reader: FormatReader, head: Uint8Array): Promise<T> {
  let step = look.next();
  while (step.done !== true) {
    const { offset, length } = step.value;
    const there = Math.max(0, Math.min(length, reader.size - offset));
    step = look.next(
      offset + there <= head.length ? head.subarray(offset, offset + there) : await readAll(reader, offset, there),
    );
  }
  return step.value;
}

/** Reads exactly `length` bytes. Throws `store-failed` when the reader gives another number. */
export async function readAll(reader: FormatReader, offset: number, length: number): Promise<Uint8Array> {
  if (length === 0) return new Uint8Array(0);
  const bytes = await reader.read(offset, length);
  if (bytes.length !== length) {
    throw new HawserError(
      'store-failed',
      `Wanted ${length} bytes at ${offset} to see the format, got ${bytes.length}.`,
    );
  }
  return bytes;
}
