import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { ImageFormat } from '../../src/core/formats.ts';
import { openImageFile } from '../../src/host/image-files.ts';
import { QemuNbdSupervisor } from '../../src/host/qemu-nbd.ts';
import { imageTools } from '../../src/roles/image-tools.ts';
import { openImageDevice } from '../../src/service/host/image-device.ts';
import type { Device } from '../../src/stores/device.ts';
import { type LocalDeviceOptions, openLocalDevice } from '../../src/stores/local-device.ts';
import { openNbdDevice } from '../../src/stores/nbd/device.ts';
import type { DevicePlace } from './device-conformance.ts';

const run = promisify(execFile);
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** A file in a new folder below `below`. */
export async function localPlace(
  size: number,
  below = tmpdir(),
  options: Partial<LocalDeviceOptions> = {},
): Promise<DevicePlace> {
  const { folder, undo } = await folderBelow(below);
  const path = join(folder, 'file');
  await fileOf(path, size);
  const reopen = ({ writable } = { writable: true }) => openLocalDevice({ path, writable, ...options });
  return placeOf(undo, reopen);
}

/** A loop device over a file. */
export async function loopPlace(size: number, sectorSize: number): Promise<DevicePlace> {
  const { folder, undo } = await folderBelow(tmpdir());
  const image = join(folder, 'image');
  await fileOf(image, size);
  const { stdout } = await run('losetup', ['--find', '--show', '--sector-size', String(sectorSize), image], { env });
  const path = stdout.trim();
  undo.defer(async () => void (await run('losetup', ['--detach', path], { env })));
  return placeOf(undo, ({ writable } = { writable: true }) => openLocalDevice({ path, writable }));
}

/** The content of an image by its format, through a qemu-nbd of ours. */
export async function imagePlace(
  size: number,
  format: ImageFormat,
  options: readonly string[] = [],
): Promise<DevicePlace> {
  const { folder, undo } = await folderBelow(tmpdir());
  const path = join(folder, 'image');
  await run('qemu-img', ['create', '-q', '-f', format, ...options, path, String(size)]);
  const supervisor = undo.use(await QemuNbdSupervisor.open(join(folder, 'run'), randomUUID));
  const tools = imageTools(supervisor, [folder]);
  const reopen = async ({ writable } = { writable: true }) => {
    const file = await openImageFile(path, [folder]);
    return openImageDevice(tools, { file, format, writable, references: 'refused' });
  };
  return placeOf(undo, reopen);
}

/** A server of nbdkit's memory plugin; what has a `=` and is no option is a parameter. */
export async function nbdkitPlace(size: number, ...args: readonly string[]): Promise<DevicePlace> {
  const options = args.filter((arg) => arg.startsWith('-'));
  const parameters = args.filter((arg) => !arg.startsWith('-'));
  const { folder, undo } = await folderBelow(tmpdir());
  const socket = join(folder, 's');
  // Written once it listens.
  const pid = join(folder, 'pid');
  const kit = spawn(
    'nbdkit',
    [
      '--foreground',
      '--exit-with-parent',
      '--unix',
      socket,
      '--pidfile',
      pid,
      ...options,
      'memory',
      `size=${size}`,
      ...parameters,
    ],
    {
      stdio: 'inherit',
    },
  );
  undo.defer(() => ended(kit));
  while ((await stat(pid).catch(() => undefined)) === undefined) {
    if (kit.exitCode !== null) {
      await undo.disposeAsync();
      throw new Error('nbdkit did not start');
    }
    await wait(10);
  }
  const reopen = ({ writable } = { writable: true }) =>
    openNbdDevice({ address: { kind: 'unix', path: socket }, readOnly: !writable });
  return placeOf(undo, reopen);
}

async function placeOf(
  undo: AsyncDisposableStack,
  reopen: (options?: { readonly writable: boolean }) => Promise<Device>,
): Promise<DevicePlace> {
  const device = undo.use(await reopen());
  return { device, reopen, [Symbol.asyncDispose]: () => undo.disposeAsync() };
}

async function folderBelow(below: string) {
  const folder = await mkdtemp(join(below, 'hawser-device-'));
  const undo = new AsyncDisposableStack();
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  return { folder, undo };
}

async function fileOf(path: string, size: number): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.truncate(size);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'exit');
}
