import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HawserError } from '../core/errors.ts';

/** Those that are being written, by path: two at once would rename each other's file away. */
const writing = new Map<string, Promise<void>>();

/**
 * Replaces the file's content at once and for good: written aside, synced, renamed, folder synced. Mode 0600.
 * Of several at once the one that was called last counts.
 */
export async function writeFileAtomic(path: string, content: string | Uint8Array): Promise<void> {
  const before = writing.get(path) ?? Promise.resolve();
  const mine = before.catch(() => {}).then(() => replace(path, content)); // its own caller heard of its failure
  writing.set(path, mine);
  try {
    await mine;
  } catch (error) {
    throw stateFailure(error);
  } finally {
    if (writing.get(path) === mine) writing.delete(path);
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
