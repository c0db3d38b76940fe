import {
  type BigIntStats,
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  open,
  read,
  type Stats,
  write,
} from 'node:fs';
import { promisify } from 'node:util';

/**
 * Raw descriptors: one request of libuv per call and nothing else. Whoever opens one waits for its
 * outstanding calls before `closeFile`, as a closed number is soon somebody else's file.
 */
export const openFile: (path: string, flags: number, mode?: number) => Promise<number> = promisify(open);
export const closeFile: (fd: number) => Promise<void> = promisify(close);
export const statFile: (fd: number) => Promise<Stats> = promisify(fstat);
export const statExactly = (fd: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) => {
    fstat(fd, { bigint: true }, (error, stat) => (error === null ? resolve(stat) : reject(error)));
  });
export const truncateFile: (fd: number, size: number) => Promise<void> = promisify(ftruncate);
export const syncData: (fd: number) => Promise<void> = promisify(fdatasync);
export const syncFile: (fd: number) => Promise<void> = promisify(fsync);

/** NONBLOCK: opening a FIFO that somebody put there must not hang; it means nothing to regular files. */
const SAFE = constants.O_NOFOLLOW | constants.O_NONBLOCK;
export const READ = constants.O_RDONLY | SAFE;
export const READ_WRITE = constants.O_RDWR | SAFE;
export const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | SAFE;
export const PARENT = constants.O_RDONLY | constants.O_DIRECTORY;
export const FOLDER = PARENT | constants.O_NOFOLLOW;

/** Writes all of `buffer`, however often the system takes only part of it. */
export function writeAll(fd: number, buffer: Uint8Array, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    write(fd, buffer, 0, buffer.length, offset, (error, written) => {
      if (error !== null) reject(error);
      else if (written >= buffer.length) resolve();
      else if (written === 0) reject(new Error(`the system took none of ${buffer.length} bytes`));
      else resolve(writeAll(fd, buffer.subarray(written), offset + written));
    });
  });
}

/** Fills `into` as far as the file goes and answers the bytes read. */
export function readUpTo(fd: number, into: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.length, offset, (error, got) => {
      if (error !== null) reject(error);
      else if (got === 0 || got >= into.length) resolve(got);
      else resolve(readUpTo(fd, into.subarray(got), offset + got).then((more) => got + more));
    });
  });
}
