import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface LoopOptions {
  readonly filesystem: 'ext4' | 'xfs' | 'btrfs';
  readonly sectorSize: 512 | 4096;
  /** Bytes. */
  readonly size: number;
  /** Bytes that the device really has, as an overcommitted pool: behind them writing back fails. */
  readonly thin?: number;
}

export interface LoopFilesystem extends AsyncDisposable {
  readonly path: string;
}

const run = promisify(execFile);
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const call = async (command: string, ...args: readonly string[]) =>
  (await run(command, [...args], { env })).stdout.trim();

/**
 * A fresh filesystem in a file of its own on a loop device. Whatever fails on the way or later: what
 * was set up is undone, in reverse; what a killed run left behind is undone by the next one.
 */
export async function mountLoop({ filesystem, sectorSize, size, thin }: LoopOptions): Promise<LoopFilesystem> {
  await sweep();
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const backing = join(folder, 'backing');
  await mkdir(backing);
  if (thin !== undefined) {
    await call('mount', '-t', 'tmpfs', '-o', `size=${thin}`, 'tmpfs', backing);
    undo.defer(() => unmount(backing));
  }
  const image = join(backing, 'image');
  {
    await using file = await open(image, 'wx', 0o600);
    await file.truncate(size);
  }
  const loop = await call('losetup', '--find', '--show', '--sector-size', String(sectorSize), image);
  {
    // While mounted this only marks it: the device goes with the last mount, whoever ends that.
    await using detach = new AsyncDisposableStack();
    detach.defer(async () => void (await call('losetup', '--detach', loop)));
    await call(`mkfs.${filesystem}`, ...(filesystem === 'ext4' ? ['-q', '-F'] : ['-q', '-f']), loop);
    await mkdir(join(folder, 'mount'));
    await call('mount', '-t', filesystem, loop, join(folder, 'mount'));
  }
  const path = join(folder, 'mount');
  undo.defer(() => unmount(path));
  const cleanup = undo.move();
  return { path, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}

const PREFIX = 'hawser-loop-';

async function unmount(path: string): Promise<void> {
  await call('umount', path);
}

async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = name.startsWith(PREFIX) ? name.slice(PREFIX.length).split('-')[0] : undefined;
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const folder = join(tmpdir(), name);
    // Not mounted is what we want.
    for (const path of ['mount', 'backing']) await unmount(join(folder, path)).catch(() => {});
    await rm(folder, { recursive: true, force: true });
  }
}
