import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface LoopOptions {
  readonly filesystem: 'ext4' | 'xfs' | 'btrfs';
  readonly sectorSize: 512 | 4096;
  /** Bytes. */
  readonly size: number;
}

export interface LoopFilesystem extends AsyncDisposable {
  readonly path: string;
  readonly loop: string;
}

const run = promisify(execFile);
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const call = async (command: string, ...args: readonly string[]) =>
  (await run(command, [...args], { env })).stdout.trim();

/**
 * A fresh filesystem in a file of its own on a loop device. Whatever fails on the way or later: what
 * was set up is undone, in reverse.
 */
export async function mountLoop({ filesystem, sectorSize, size }: LoopOptions): Promise<LoopFilesystem> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hawser-loop-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const image = join(folder, 'image');
  await using file = await open(image, 'wx', 0o600);
  await file.truncate(size);
  const loop = await call('losetup', '--find', '--show', '--sector-size', String(sectorSize), image);
  undo.defer(async () => void (await call('losetup', '--detach', loop)));
  await call(`mkfs.${filesystem}`, ...(filesystem === 'ext4' ? ['-q', '-F'] : ['-q', '-f']), loop);
  const path = join(folder, 'mount');
  await mkdir(path);
  await call('mount', '-t', filesystem, loop, path);
  undo.defer(async () => void (await call('umount', path)));
  const cleanup = undo.move();
  return { path, loop, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}
