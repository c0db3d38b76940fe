import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { seeded } from './plan.ts';

const MiB = 1024 * 1024;

export interface SourceFile {
  readonly path: string;
  readonly size: number;
  /** Bytes that a client has to send: blocks that are not all zeros. */
  readonly dataBytes: number;
  /** hex of tree-sha256, computed here without any code of the product. */
  readonly treeDigest: string;
}

/**
 * 256 MiB less an odd piece: stretches of random bytes, of written zeros and of holes of random lengths,
 * borders of blocks not respected, and a tail of random bytes that ends in the middle of a sector.
 */
export async function makeSource(path: string, seed: number, size = 256 * MiB - 12_345): Promise<SourceFile> {
  const random = seeded(seed);
  const file = await open(path, 'w+');
  try {
    await file.truncate(size);
    for (let at = 0; at < size; ) {
      const length = Math.min(size - at, 1 + Math.floor(random() * 9 * MiB));
      const kind = random();
      // Half of it bytes; the rest zeros, written ones and holes.
      if (kind < 0.65 || at + length === size) await fill(file, { at, length, random });
      else if (kind < 0.8) await file.write(Buffer.alloc(length), 0, length, at);
      at += length;
    }
    await file.sync();
    return { path, size, ...(await digestOf(file, size)) };
  } finally {
    await file.close();
  }
}

interface Stretch {
  readonly at: number;
  readonly length: number;
  readonly random: () => number;
}

async function fill(file: FileHandle, { at, length, random }: Stretch): Promise<void> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = Math.floor(random() * 2 ** 32) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  await file.write(Buffer.from(words.buffer), 0, length, at);
}

async function digestOf(file: FileHandle, size: number): Promise<{ treeDigest: string; dataBytes: number }> {
  const tree = createHash('sha256');
  const block = Buffer.alloc(MiB);
  const zeros = Buffer.alloc(MiB);
  let dataBytes = 0;
  for (let at = 0; at < size; at += MiB) {
    const { bytesRead } = await file.read(block, 0, MiB, at);
    const bytes = block.subarray(0, bytesRead);
    tree.update(createHash('sha256').update(bytes).digest());
    if (!bytes.equals(zeros.subarray(0, bytesRead))) dataBytes += bytesRead;
  }
  return { treeDigest: tree.digest('hex'), dataBytes };
}
