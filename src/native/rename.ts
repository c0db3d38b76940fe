import { lstat, rename } from 'node:fs/promises';
import { isRefusal, libc, SystemCallError } from './libc.ts';

/**
 * Renames without ever replacing: throws an error with code EEXIST when `to` is there. In one step of
 * the kernel where the filesystem can (ext4, xfs, btrfs, tmpfs, overlayfs); elsewhere (NFS, some FUSE) it looks first, which is
 * safe against everybody who takes the same lock, not against a stranger in the same microsecond.
 */
export async function renameNoReplace(from: string, to: string): Promise<void> {
  const library = libc();
  if (library !== undefined) {
    try {
      await library.renameNoReplace(from, to);
      return;
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
  if (await isThere(to)) throw new SystemCallError('rename', 'EEXIST');
  await rename(from, to);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
