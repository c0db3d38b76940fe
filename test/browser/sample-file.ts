import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, utimes } from 'node:fs/promises';

export const MiB = 1024 * 1024;
/** One time for all, so that two files can look the same from outside. */
const changedAt = new Date('2026-01-02T03:04:05Z');

export interface Part {
  readonly kind: 'data' | 'zeros';
  readonly mebibytes: number;
}

/** A file of random data and zeros in that order. */
export async function writeSample(path: string, parts: readonly Part[]): Promise<void> {
  const file = await open(path, 'w');
  let at = 0;
  for (const { kind, mebibytes } of parts) {
    for (let i = 0; i < mebibytes; i++, at += MiB) {
      if (kind === 'data') await file.write(randomBytes(MiB), 0, MiB, at);
    }
  }
  await file.truncate(at);
  await file.close();
  await utimes(path, changedAt, changedAt);
}

/** The same name, size and time, one byte other. */
export async function changeByte(path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, offset);
  await file.close();
  await utimes(path, changedAt, changedAt);
}

export async function sha256Of(source: string | ReadableStream<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  const chunks: AsyncIterable<Uint8Array> = typeof source === 'string' ? createReadStream(source) : source;
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}
