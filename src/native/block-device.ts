import { readFile } from 'node:fs/promises';
import { libc } from './libc.ts';

export interface BlockGeometry {
  /** Bytes. */
  readonly size: number;
  /** Bytes of a logical block: what the device reads and writes at once. */
  readonly sector: number;
}

/** lseek(2). */
const SEEK_END = 2;
/** The kernel counts so whatever the device has. */
const KERNEL_SECTOR = 512;
/** What holds for every device when it does not tell. */
const UNKNOWN_SECTOR = 4096;

/** `rdev` is that of the device's stat. Source: /sys/dev/block, sysfs-block of the kernel's ABI documents. */
export async function blockGeometry(fd: number, rdev: bigint): Promise<BlockGeometry> {
  const folder = `/sys/dev/block/${major(rdev)}:${minor(rdev)}`;
  const size = libc()?.seek(fd, 0, SEEK_END) ?? (await numberIn(`${folder}/size`, Number.NaN)) * KERNEL_SECTOR;
  if (!Number.isSafeInteger(size))
    throw new Error(`the size of block device ${major(rdev)}:${minor(rdev)} is not told`);
  // A partition has no queue of its own.
  const ofWhole = await numberIn(`${folder}/../queue/logical_block_size`, UNKNOWN_SECTOR);
  return { size, sector: await numberIn(`${folder}/queue/logical_block_size`, ofWhole) };
}

async function numberIn(path: string, otherwise: number): Promise<number> {
  const text = (await readFile(path, 'utf8').catch(() => '')).trim();
  return /^\d+$/.test(text) ? Number(text) : otherwise;
}

/** As glibc's gnu_dev_major and gnu_dev_minor. */
function major(rdev: bigint): bigint {
  return ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
}

function minor(rdev: bigint): bigint {
  return (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn);
}
