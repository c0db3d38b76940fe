import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { readIfThere, writeFileAtomic } from './atomic-file.ts';

const MARKER = 'hawser-store.json';
const markerContent = z.object({ storeId: z.uuid() });

export interface MarkedFolder {
  /** For messages. */
  readonly name: string;
  readonly storeId: string;
  /** The Store's folder. */
  readonly path: string;
  /** A file of the agent's own that says that the Store's folder was marked. */
  readonly record: string;
}

/**
 * Before a Store's folder is opened, and made if it is missing: throws `store-failed` when it is not the one that
 * this Store had, so that a filesystem that is not mounted does not look like a Store that lost everything.
 */
export async function checkStoreFolder({ name, storeId, path, record }: MarkedFolder): Promise<void> {
  const marker = await readIfThere(join(path, MARKER)).catch((cause: unknown) => {
    throw unreadable(name, cause);
  });
  if (marker === undefined) {
    if ((await readIfThere(record)) === undefined) return;
    throw new HawserError(
      'store-failed',
      `The folder of the store ${name} is not the one it had: its file ${MARKER} is missing. Mount its filesystem (or give its path) and start the agent again. If the store is to begin empty, remove the file agent/stores/${storeId} from the data folder.`,
    );
  }
  const found = markerContent.safeParse(parseJson(marker.toString()));
  if (found.success && found.data.storeId === storeId) return;
  throw new HawserError(
    'store-failed',
    `The folder of the store ${name} is marked as that of another store (${found.success ? found.data.storeId : 'its mark cannot be read'}). Two stores never share a folder: give another path. If the other one is gone for good, remove its file ${MARKER}.`,
  );
}

/** Once it is open. What the mark says survives a power cut. Repeatable. */
export async function markStoreFolder({ storeId, path, record }: MarkedFolder): Promise<void> {
  const marker = join(path, MARKER);
  if ((await readIfThere(marker)) === undefined) await writeFileAtomic(marker, `${JSON.stringify({ storeId })}\n`);
  if ((await readIfThere(record)) !== undefined) return;
  await mkdir(dirname(record), { recursive: true, mode: 0o700 });
  await writeFileAtomic(record, '');
}

/** A disk that fails, a share that is away: other Stores go on without it. */
function unreadable(name: string, cause: unknown): HawserError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
  return new HawserError(
    'store-failed',
    `The folder of the store ${name} cannot be read (${errno}): its file ${MARKER} is to say whose it is. Look at its filesystem and start the agent again.`,
    { cause },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
