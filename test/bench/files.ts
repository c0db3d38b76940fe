import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';

const STEP = 16 * 1024 * 1024;

/** Bytes that no filesystem can compress or share. */
export async function writeRandom(path: string, size: number): Promise<void> {
  await using file = await open(path, 'w');
  for (let at = 0; at < size; at += STEP) {
    const bytes = randomBytes(Math.min(STEP, size - at));
    await file.write(bytes, 0, bytes.length, at);
  }
  await file.sync();
}

/** Touches as much page cache as the bench will: the first touch of memory is slow on many machines and would drown everything. */
export async function warmPageCache(folder: string, bytes: number): Promise<void> {
  const path = join(folder, 'warm');
  await using file = await open(path, 'w');
  const block = Buffer.alloc(STEP, 0xa5);
  for (let at = 0; at < bytes; at += STEP) await file.write(block, 0, block.length, at);
  await rm(path);
}
