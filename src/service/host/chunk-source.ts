import type { ByteSource } from '../../core/bytes.ts';
import { cutAt, type Range } from '../../core/range.ts';
import type { EngineMeans } from '../../engine/incoming.ts';

const PIECE = 1024 * 1024;

/** Reads back what was written. */
export type ReadBack = (into: Uint8Array, offset: number) => Promise<void>;

/** A stretch that was written before, as a source. */
export function readingSource(read: ReadBack, range: Range): ByteSource {
  return {
    async drain(take, signal) {
      const buffer = Buffer.allocUnsafe(Math.min(PIECE, range.length));
      for (const { offset, length } of cutAt(range, PIECE)) {
        signal.throwIfAborted();
        const piece = buffer.subarray(0, length);
        await read(piece, offset);
        await take(piece);
      }
    },
  };
}

/** The SHA-512 of a stretch that was written before, as 128 hex digits; computed in the hash threads. */
export async function sha512Of(means: EngineMeans, read: ReadBack, range: Range): Promise<string> {
  const stream = means.hashes.stream('sha512');
  try {
    for (const { offset, length } of cutAt(range, PIECE)) {
      const slab = await means.slabs.acquire();
      try {
        await read(slab.bytes.subarray(0, length), offset);
        await stream.update(slab, 0, length);
      } finally {
        means.slabs.release(slab);
      }
    }
    return (await stream.digest()).toString('hex');
  } finally {
    stream.drop();
  }
}
