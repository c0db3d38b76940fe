import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, sep } from 'node:path';
import { HawserError } from '../core/errors.ts';
import { blockGeometry } from '../native/block-device.ts';
import type { ImageFile } from './qemu-block-options.ts';

/** An image's file, open for reading; a tool that gets its descriptor opens the same file. */
export interface OpenImageFile extends ImageFile, AsyncDisposable {
  /** Bytes. */
  readonly size: number;
  readonly identity: string;
  /** As it was named, absolute: names inside of it are relative to its folder. */
  readonly path: string;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/**
 * Opens files and block devices that lie below one of `roots`, links resolved; what is opened is compared with
 * what was resolved. Throws `forbidden` for everything else, `not-found`.
 */
export async function openImageFile(path: string, roots: readonly string[]): Promise<OpenImageFile> {
  const real = await realpath(path).catch((cause: unknown) => {
    throw notThere(cause);
  });
  await checkBelow(real, roots);
  // NONBLOCK: a FIFO must not hang. NOFOLLOW: it was no link a moment ago.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(real, flags).catch((cause: unknown) => {
    throw notThere(cause);
  });
  try {
    // A folder on the way may have become a link meanwhile.
    await checkBelow(await readlink(`/proc/self/fd/${handle.fd}`), roots);
    return await describe(handle, path);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Opens what `from` names. */
export function openBeside(from: OpenImageFile, name: string, roots: readonly string[]): Promise<OpenImageFile> {
  return openImageFile(isAbsolute(name) ? name : join(dirname(from.path), name), roots);
}

async function checkBelow(real: string, roots: readonly string[]): Promise<void> {
  for (const root of roots) {
    const resolved = await realpath(root).catch(() => undefined);
    if (resolved !== undefined && (real === resolved || real.startsWith(resolved.replace(/\/?$/, sep)))) return;
  }
  throw new HawserError(
    'forbidden',
    'The image lies, or names a file that lies, outside of the folders that may be opened here. Move it there, or have the folder allowed.',
  );
}

async function describe(handle: FileHandle, path: string): Promise<OpenImageFile> {
  const stat = await handle.stat({ bigint: true });
  if (!stat.isFile() && !stat.isBlockDevice()) {
    throw new HawserError('forbidden', 'The image, or a file that it names, is neither a file nor a block device.');
  }
  return {
    fd: handle.fd,
    kind: stat.isFile() ? 'file' : 'block',
    size: stat.isFile() ? Number(stat.size) : (await blockGeometry(handle.fd, stat.rdev)).size,
    identity: stat.isFile() ? `${stat.dev}:${stat.ino}` : `block ${stat.rdev}`,
    path,
    read: (offset, length) => readExactly(handle, offset, length),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await handle.read(bytes, at, length - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}

function notThere(cause: unknown): HawserError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (errno === 'ENOENT' || errno === 'ENOTDIR') {
    return new HawserError('not-found', 'The image, or a file that it names, is not there.', { cause });
  }
  return new HawserError('store-failed', `The image, or a file that it names, cannot be opened (${errno}).`, { cause });
}
