import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { fingerprintOf } from '../../client/fingerprint.ts';
import type { FileSource, SourceExtent } from '../../client/ports.ts';
import { wholeBlocks } from '../../client/source-cuts.ts';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import { localExtents } from '../../native/extents.ts';

/** A file or block device of this machine. Holes are asked for, never read. */
export interface LocalFile extends FileSource, AsyncDisposable {
  readonly path: string;
  /** Bytes of the blocks (1 MiB) that are not all hole. */
  readonly dataSize: number;
}

/** Opens it for reading. Throws `not-found`, `forbidden`, `unsupported` (a folder, a socket). */
export async function openLocalFile(path: string): Promise<LocalFile> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw openError(path, error);
  });
  try {
    return await describe(path, handle);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function describe(path: string, handle: FileHandle): Promise<LocalFile> {
  const before = await handle.stat({ bigint: true });
  if (!before.isFile() && !before.isBlockDevice()) {
    const what = before.isDirectory() ? 'a folder' : 'neither a file nor a block device';
    throw new HawserError('unsupported', `${path} is ${what}; a disk image is one file. For a pipe give "-".`);
  }
  const size = before.isFile() ? Number(before.size) : await deviceSize(before.rdev);
  const extents = (range: Range) => localExtents(handle.fd, rangeEnd(range), range.offset);
  const dataSize = before.isFile() ? dataBytes(extents({ offset: 0, length: size }), size) : size;
  return {
    kind: 'file',
    path,
    size,
    dataSize,
    fingerprint: fingerprintOf({ name: basename(path), size, modifiedMs: Number(before.mtimeMs) }),
    read: (into, offset) => readWhole(handle, into, offset),
    async *extents(range): AsyncGenerator<SourceExtent> {
      yield* extents(range);
    },
    async changed() {
      if (!before.isFile()) return null;
      const now = await stat(path, { bigint: true }).catch(() => undefined);
      if (now === undefined) return `${basename(path)} is not there any more`;
      if (now.size !== before.size) return `its size is ${now.size} bytes now and was ${before.size}`;
      if (now.mtimeNs !== before.mtimeNs) return 'it was written to meanwhile (its time of change is another one)';
      return now.ino === before.ino ? null : 'another file has taken its place';
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Whole blocks with any data in them: that is what will be sent. */
function dataBytes(extents: Iterable<SourceExtent>, size: number): number {
  let sum = 0;
  let counted = 0;
  for (const extent of extents) {
    if (extent.kind === 'hole') continue;
    const block = wholeBlocks(extent, size);
    sum += Math.max(0, rangeEnd(block) - Math.max(counted, block.offset));
    counted = rangeEnd(block);
  }
  return sum;
}

async function readWhole(handle: FileHandle, into: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await handle.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) {
      throw new HawserError(
        'source-changed',
        `The source ended at byte ${offset + done}: it was cut while it was being read.`,
        {
          details: { offset: offset + done, next: 'Stop whatever writes it, then upload again.' },
        },
      );
    }
    done += bytesRead;
  }
}

/** Linux tells the size of a device in /sys, in units of 512 bytes. */
async function deviceSize(rdev: bigint): Promise<number> {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
}

function openError(path: string, error: unknown): HawserError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return new HawserError('not-found', `There is no file ${path}.`, { cause: error });
  if (code === 'EACCES' || code === 'EPERM') {
    return new HawserError('forbidden', `${path} may not be read by this user.`, { cause: error });
  }
  return new HawserError('store-failed', error instanceof Error ? error.message : String(error), { cause: error });
}
