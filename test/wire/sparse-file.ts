import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';

const MiB = 1024 * 1024;

export interface Piece {
  readonly offset: number;
  readonly bytes: Buffer;
}

/**
 * A file of `size` bytes with `dataSize` random bytes in pieces of 16 MiB, evenly spread, a few of
 * them not aligned to anything. Returns some of the pieces to compare with later.
 */
export async function makeSparseFile(path: string, size: number, dataSize: number): Promise<readonly Piece[]> {
  await using file = await open(path, 'w');
  await file.truncate(size);
  const pieces: Piece[] = [];
  const count = Math.ceil(dataSize / (16 * MiB));
  const step = Math.floor(size / count);
  for (let i = 0; i < count; i++) {
    const bytes = randomBytes(Math.min(16 * MiB, dataSize - i * 16 * MiB));
    const offset = Math.min(i * step + (i % 8 === 3 && step > 32 * MiB ? 12_345 : 0), size - bytes.length);
    await file.write(bytes, 0, bytes.length, offset);
    if (i % 8 === 3 || i === count - 1) pieces.push({ offset, bytes });
  }
  await file.sync();
  return pieces;
}
