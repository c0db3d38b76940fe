import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { DownloadSink } from '../../client/download-sink.ts';
import { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import { localExtents } from '../../native/extents.ts';
import { libc } from '../../native/libc.ts';

export interface FileSink extends DownloadSink, AsyncDisposable {
  /** All of it is on the disk once this resolves. */
  flush(): Promise<void>;
}

const ZEROS = 1024 * 1024;

/** A sparse file of `size` bytes. What an earlier run left in it stays to be compared. */
export async function openFileSink(path: string, size: number): Promise<FileSink> {
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  try {
    await takeAlone(handle, path);
    const before = (await handle.stat()).size;
    await handle.truncate(size);
    return sinkOf(handle, before);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Two that fetch into one file would mix their bytes in it. */
async function takeAlone(handle: FileHandle, path: string): Promise<void> {
  const taken = (cause?: unknown) =>
    new HawserError('in-use', `Another download writes ${path} at this moment.`, {
      cause,
      details: { next: 'Wait for it, or give another file.' },
    });
  try {
    libc()?.lock(handle.fd);
  } catch (cause) {
    throw taken(cause);
  }
  // The other one may have been done, and given the file its name, between our opening and our lock.
  const now = await stat(path).catch(() => undefined);
  if (now?.ino !== (await handle.stat()).ino) throw taken();
}

function sinkOf(handle: FileHandle, before: number): FileSink {
  const common = {
    ordered: false,
    write: (bytes: Uint8Array, offset: number) => writeWhole(handle, bytes, offset),
    flush: () => handle.sync(),
    [Symbol.asyncDispose]: () => handle.close(),
  };
  if (before === 0) return { ...common, hole: () => Promise.resolve() };
  return {
    ...common,
    hole: (range) => clear(handle, range),
    read: (into, offset) => readLeft(handle, into, offset),
  };
}

/** Everything in order, holes as zeros. */
export function pipeSink(pipe: Writable): DownloadSink {
  const zeros = Buffer.alloc(64 * 1024);
  const write = (bytes: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      // A stream may keep what it was given after it said that it is written.
      pipe.write(Buffer.from(bytes), (error) => (error ? reject(error) : resolve()));
    });
  return {
    ordered: true,
    write,
    async hole({ length }) {
      for (let left = length; left > 0; left -= zeros.length)
        await write(zeros.subarray(0, Math.min(left, zeros.length)));
    },
  };
}

async function writeWhole(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
  } catch (cause) {
    throw full(cause);
  }
}

function full(cause: unknown): unknown {
  if (!(cause instanceof Error && 'code' in cause && (cause.code === 'ENOSPC' || cause.code === 'EDQUOT')))
    return cause;
  return new HawserError('store-full', 'There is no space left where the file goes.', {
    cause,
    details: { next: 'Free some and run the same command: what was fetched is kept.' },
  });
}

/** Zeros over whatever data lies there. */
async function clear(handle: FileHandle, range: Range): Promise<void> {
  const zeros = Buffer.alloc(Math.min(ZEROS, range.length));
  for (const extent of localExtents(handle.fd, range.offset + range.length, range.offset)) {
    if (extent.kind === 'hole') continue;
    for (let at = extent.offset; at < extent.offset + extent.length; at += zeros.length) {
      await writeWhole(handle, zeros.subarray(0, Math.min(zeros.length, extent.offset + extent.length - at)), at);
    }
  }
}

/** Reads the data only: a hole of the part file needs no reading. */
async function readLeft(handle: FileHandle, into: Uint8Array, offset: number): Promise<void> {
  into.fill(0);
  for (const extent of localExtents(handle.fd, offset + into.length, offset)) {
    if (extent.kind === 'hole') continue;
    const from = extent.offset - offset;
    for (let done = 0; done < extent.length; ) {
      const at = extent.offset + done;
      const { bytesRead } = await handle.read(into, from + done, extent.length - done, at);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
  }
}
