import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HawserError } from '../core/errors.ts';

/** Replaces the file's content at once and for good: written aside, synced, renamed, folder synced. Mode 0600. */
export async function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await replace(path, content);
  } catch (error) {
    throw stateFailure(error);
  }
}

/** A full disk below the data folder in our words; anything else as it is. */
export function stateFailure(error: unknown): unknown {
  if (!(error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')))
    return error;
  return new HawserError(
    'store-full',
    'The disk that holds the data folder is full. Free some space; what was received is kept, send on then.',
    {
      cause: error,
    },
  );
}

async function replace(path: string, content: string | Uint8Array): Promise<void> {
  const aside = `${path}.new`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncFolder(dirname(path));
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The file's content, or undefined when there is none. */
export async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes the file for good. Removing what is not there succeeds. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
}
