import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeFile } from './atomic-file.ts';

/** Linux takes 107 bytes of path for a unix socket. */
const LIMIT = 107;

/** Where a unix socket of ours goes: in `folder` (which only we may enter), or in a private folder when that path is too long. A left-over is removed. */
export async function socketPath(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  if (Buffer.byteLength(path) > LIMIT) return join(await mkdtemp(join(tmpdir(), 'hawser-')), name);
  await removeFile(path);
  return path;
}
