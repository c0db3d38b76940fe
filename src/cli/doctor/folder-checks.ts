import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, copyFile, mkdir, open, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { localExtents } from '../../native/extents.ts';
import { formatBytes } from '../text.ts';
import type { Finding } from './finding.ts';

const MiB = 1024 * 1024;
const LITTLE = 10 * 1024 * MiB;
const filesystems: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  26985: 'nfs',
  801189825: 'zfs',
  2035054128: 'overlayfs',
  1702057286: 'fuse',
};

/** The data folder, or where it will be: writable, what its filesystem can do, how much room. Leaves nothing behind. */
export async function* folderChecks(folder: string): AsyncGenerator<Finding> {
  const about = 'data folder';
  const there = await existing(folder);
  const next = 'Choose another with HAWSER_DATA_DIR or --data-dir, or give this user the right to write there.';
  try {
    await access(there, constants.W_OK);
    if ((await stat(there)).uid !== process.getuid?.() && process.getuid?.() !== 0) {
      yield { about, verdict: 'warn', said: `${there} belongs to another user` };
    }
  } catch {
    yield { about, verdict: 'fail', said: `${folder} may not be written`, next };
    return;
  }
  yield { about, verdict: 'ok', said: there === folder ? folder : `${folder} (will be made)` };
  const { bavail, bsize, type } = await statfs(there);
  const free = bavail * bsize;
  yield free < LITTLE
    ? {
        about: 'free space',
        verdict: 'warn',
        said: formatBytes(free),
        next: 'Images need room: put a store elsewhere.',
      }
    : { about: 'free space', verdict: 'ok', said: formatBytes(free) };
  yield await filesystemCheck(there, filesystems[type] ?? `type ${type.toString(16)}`);
}

async function filesystemCheck(folder: string, kind: string): Promise<Finding> {
  const about = 'filesystem';
  const trial = join(folder, `.hawser-doctor-${randomUUID()}`);
  await mkdir(trial, { mode: 0o700 });
  try {
    const file = join(trial, 'a');
    const sparse = await makesHoles(file);
    const clones = await copyFile(file, join(trial, 'b'), constants.COPYFILE_FICLONE_FORCE).then(
      () => true,
      () => false,
    );
    const said = `${kind}: ${sparse ? 'keeps holes' : 'keeps no holes'}, ${clones ? 'clones files' : 'clones no files'}`;
    if (sparse) return { about, verdict: 'ok', said };
    return {
      about,
      verdict: 'warn',
      said,
      next: 'Sparse images take their full size here; ext4, xfs or btrfs keep holes.',
    };
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

async function makesHoles(path: string): Promise<boolean> {
  await using file = await open(path, 'w+');
  await file.truncate(8 * MiB);
  await file.write(Buffer.from('x'), 0, 1, 4 * MiB);
  return [...localExtents(file.fd, 8 * MiB)].some((extent) => extent.kind === 'hole');
}

/** The folder or the nearest one above it that is there. */
async function existing(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined);
    if (found?.isDirectory() === true || at === dirname(at)) return at;
  }
}
