import { statfs } from 'node:fs/promises';

/** Space of the filesystem that holds `path`, bytes. */
export interface FreeSpace {
  readonly capacity: number;
  /** What may be written without privileges of root: the reserved blocks are not counted. */
  readonly free: number;
}

export async function freeSpace(path: string): Promise<FreeSpace> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { capacity: blocks * bsize, free: bavail * bsize };
}
