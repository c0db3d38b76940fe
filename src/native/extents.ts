import { isRefusal, libc, SystemCallError } from './libc.ts';

export interface LocalExtent {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'hole';
}

/** lseek(2) on Linux. */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * Offset of the first data at or after `offset`, `end` when only a hole follows before it. Where holes
 * cannot be asked for, everything is data: the answer is `offset`.
 */
export function nextData(fd: number, offset: number, end: number): number {
  return Math.min(seek(fd, offset, SEEK_DATA) ?? offset, end);
}

/** Offset of the first hole at or after `offset`, `end` when none comes before it or holes cannot be asked for. */
export function nextHole(fd: number, offset: number, end: number): number {
  return Math.min(seek(fd, offset, SEEK_HOLE) ?? end, end);
}

/**
 * Data and holes from `offset` to `end`, in order, without gaps, neighbours of one kind merged. Asked
 * for as it goes, so nothing is held for files of a million extents. A hole reads as zeros; data may.
 */
export function* localExtents(fd: number, end: number, offset = 0): Generator<LocalExtent> {
  let at = offset;
  let dataFrom = offset;
  while (at < end) {
    const data = nextData(fd, at, end);
    if (data > at) {
      if (at > dataFrom) yield { offset: dataFrom, length: at - dataFrom, kind: 'data' };
      yield { offset: at, length: data - at, kind: 'hole' };
      dataFrom = data;
    }
    // A file that changes meanwhile may answer with where we are: then one byte is data, so that this ends.
    at = data < end ? Math.max(nextHole(fd, data, end), data + 1) : end;
  }
  if (end > dataFrom) yield { offset: dataFrom, length: end - dataFrom, kind: 'data' };
}

/** Infinity: nothing follows. undefined: this cannot be asked here. */
function seek(fd: number, offset: number, whence: number): number | undefined {
  const library = libc();
  if (library === undefined) return undefined;
  try {
    return library.seek(fd, offset, whence);
  } catch (error) {
    if (error instanceof SystemCallError && error.code === 'ENXIO') return Number.POSITIVE_INFINITY;
    if (isRefusal(error)) return undefined;
    throw error;
  }
}
