import { read, write } from 'node:fs';
import { promisify } from 'node:util';
import { type FilePosition, isRefusal, libc } from './libc.ts';

/** Steps of one system call: long enough to be cheap, short enough that an abort is heard. */
const STEP = 128 * 1024 * 1024;
const BUFFER = 1024 * 1024;

/** Makes `to` share all blocks of `from`. False where this filesystem cannot; then nothing was done. */
export async function reflink(from: number, to: number): Promise<boolean> {
  const library = libc();
  if (library === undefined) return false;
  try {
    await library.clone(from, to);
    return true;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

/**
 * Copies `length` bytes from file to file inside the kernel where it can, through a buffer otherwise.
 * Answers the bytes copied: fewer only at the end of `from`.
 */
export async function copyRange(
  from: FilePosition,
  to: FilePosition,
  length: number,
  signal?: AbortSignal,
): Promise<number> {
  let done = 0;
  let step = copyInKernel;
  while (done < length) {
    signal?.throwIfAborted();
    const source = { fd: from.fd, offset: from.offset + done };
    const target = { fd: to.fd, offset: to.offset + done };
    const copied = await step(source, target, Math.min(length - done, STEP));
    if (copied === 0) break;
    if (copied === undefined) step = copyThroughBuffer;
    else done += copied;
  }
  return done;
}

/** undefined: refused. */
async function copyInKernel(from: FilePosition, to: FilePosition, length: number): Promise<number | undefined> {
  const library = libc();
  if (library === undefined) return undefined;
  try {
    return await library.copyFileRange(from, to, length);
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

const readAt = promisify(read);
const writeAt = promisify(write);

async function copyThroughBuffer(from: FilePosition, to: FilePosition, length: number): Promise<number | undefined> {
  const buffer = Buffer.allocUnsafe(Math.min(length, BUFFER));
  const { bytesRead } = await readAt(from.fd, buffer, 0, buffer.length, from.offset);
  for (let done = 0; done < bytesRead; ) {
    done += (await writeAt(to.fd, buffer, done, bytesRead - done, to.offset + done)).bytesWritten;
  }
  return bytesRead;
}
