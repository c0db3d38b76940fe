import { isRefusal, libc } from './libc.ts';

/** linux/falloc.h */
const KEEP_SIZE = 0x01;
const PUNCH_HOLE = 0x02;
const ZERO_RANGE = 0x10;

/** `refused`: not possible here (nor later for the same file); nothing was done. Other errors are thrown. */
export type Allocation = 'done' | 'refused';

/** Allocates the range, which reads as zeros where it was a hole; the file grows to its end. */
export function allocate(fd: number, offset: number, length: number): Promise<Allocation> {
  return fallocate(fd, 0, offset, length);
}

/** The range reads as zeros and gives its space back; the size stays. */
export function punchHole(fd: number, offset: number, length: number): Promise<Allocation> {
  return fallocate(fd, PUNCH_HOLE | KEEP_SIZE, offset, length);
}

/** The range reads as zeros and keeps (or gets) its space; the size stays. */
export function zeroRange(fd: number, offset: number, length: number): Promise<Allocation> {
  return fallocate(fd, ZERO_RANGE | KEEP_SIZE, offset, length);
}

async function fallocate(fd: number, mode: number, offset: number, length: number): Promise<Allocation> {
  const library = libc();
  if (library === undefined) return 'refused';
  if (length === 0) return 'done';
  for (;;) {
    try {
      await library.fallocate(fd, mode, offset, length);
      return 'done';
    } catch (error) {
      if (isRefusal(error)) return 'refused';
      if (!isInterruption(error)) throw error;
    }
  }
}

function isInterruption(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EINTR';
}
