import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { testWith } from '../../test/needs.ts';
import type { ImageFormat } from '../core/formats.ts';
import { imageTools } from '../roles/image-tools.ts';
import { openImageDevice } from '../service/host/image-device.ts';
import type { Device } from '../stores/device.ts';
import { openImageFile } from './image-files.ts';
import { QemuNbdSupervisor } from './qemu-nbd.ts';

const test = testWith('qemu-nbd', 'qemu-img');
const code = (wanted: string) => expect.objectContaining({ name: 'HawserError', code: wanted });

interface OpenOptions {
  readonly writable?: boolean;
  readonly references?: 'refused' | 'allowed';
  readonly bitmap?: string;
}

/** A folder that images may lie in, and one beside it. */
async function given() {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-qemu-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const roots = [join(folder, 'images')];
  for (const name of ['images', 'elsewhere']) await mkdir(join(folder, name));
  const supervisor = await QemuNbdSupervisor.open(join(folder, 'run'), randomUUID);
  onTestFinished(() => supervisor[Symbol.asyncDispose]());
  const tools = imageTools(supervisor, roots);
  const path = (name: string) => join(folder, 'images', name);
  return {
    folder,
    run: join(folder, 'run'),
    tools,
    path,
    qemuImg: (...args: readonly string[]) =>
      execFileSync('qemu-img', [...args], {
        cwd: join(folder, 'images'),
        stdio: ['ignore', 'pipe', 'pipe'],
      }).toString(),
    open: async (name: string, format: ImageFormat, options: OpenOptions = {}): Promise<Device> => {
      const file = await openImageFile(path(name), roots);
      return openImageDevice(tools, { file, format, writable: false, references: 'refused', ...options });
    },
  };
}

async function contentOf(device: Device): Promise<Buffer> {
  const into = Buffer.alloc(device.size);
  await device.read(into, 0);
  return into;
}

/** qemu-nbd processes that have this folder in their arguments. */
async function servers(folder: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (/^\d+$/.test(name) && line.startsWith('qemu-nbd') && line.includes(folder)) found.push(Number(name));
  }
  return found;
}

const content = randomBytes(2 * 2 ** 20);

test('every format that QEMU serves shows the same content', async () => {
  const { path, qemuImg, open } = await given();
  await writeFile(path('raw'), content);
  const kinds: readonly [ImageFormat, qemu: string, options: string][] = [
    ['raw', 'raw', 'preallocation=off'],
    ['qcow2', 'qcow2', 'compat=0.10'],
    ['qcow2', 'qcow2', 'compression_type=zstd'],
    ['vmdk', 'vmdk', 'subformat=streamOptimized'],
    ['vmdk', 'vmdk', 'subformat=monolithicSparse'],
    ['vhd', 'vpc', 'subformat=fixed,force_size=on'],
    ['vhdx', 'vhdx', 'subformat=dynamic'],
    ['vdi', 'vdi', 'static=off'],
  ];
  for (const [index, [format, qemu, options]] of kinds.entries()) {
    qemuImg('convert', '-f', 'raw', '-O', qemu, '-o', options, 'raw', `image-${index}`);
    await using device = await open(`image-${index}`, format);
    expect((await contentOf(device)).equals(content), `${format} ${options}`).toBe(true);
    expect(device.writable).toBe(false);
  }
});

test('a raw file of no whole sectors ends where it ends', async () => {
  const { path, open } = await given();
  await writeFile(path('raw'), content.subarray(0, 100_001));
  await using device = await open('raw', 'raw');
  expect((await contentOf(device)).equals(content.subarray(0, 100_001))).toBe(true);
});

test('what was written is in the image, and a dirty bitmap tells of it', async () => {
  const { qemuImg, open } = await given();
  qemuImg('create', '-q', '-f', 'qcow2', 'image', '64M');
  qemuImg('bitmap', '--add', '-g', '65536', 'image', 'b0');
  {
    await using device = await open('image', 'qcow2', { writable: true });
    await device.write(content, 3 * 2 ** 20 + 5);
    await device.flush();
  }
  await using device = await open('image', 'qcow2', { bitmap: 'b0' });
  const into = Buffer.alloc(content.length);
  await device.read(into, 3 * 2 ** 20 + 5);
  expect(into.equals(content)).toBe(true);
  const dirty = [];
  for await (const extent of device.dirty?.({ offset: 0, length: device.size }) ?? []) dirty.push(extent);
  expect(dirty).toEqual([
    { offset: 0, length: 3 * 2 ** 20, dirty: false },
    { offset: 3 * 2 ** 20, length: 2 * 2 ** 20 + 65536, dirty: true },
    { offset: 5 * 2 ** 20 + 65536, length: 59 * 2 ** 20 - 65536, dirty: false },
  ]);
  await expect(open('image', 'qcow2', { bitmap: 'other' })).rejects.toMatchObject({ name: 'HawserError' });
});

test('a chain is served when it is allowed, and refused when not', async () => {
  const { path, qemuImg, open } = await given();
  await writeFile(path('base'), content);
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', 'middle');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'middle', '-F', 'qcow2', 'top');
  await expect(open('top', 'qcow2')).rejects.toEqual(code('format-unsafe'));
  {
    await using device = await open('top', 'qcow2', { references: 'allowed', writable: true });
    expect((await contentOf(device)).equals(content)).toBe(true);
    await device.write(Buffer.alloc(512, 1), 512);
    const extents = [];
    for await (const extent of device.extents({ offset: 0, length: device.size })) extents.push(extent);
    expect(extents).toEqual([{ offset: 0, length: content.length, zero: false, hole: false }]);
  }
  expect((await readFile(path('base'))).equals(content)).toBe(true);
});

test('an external data file and a VMDK of several files, when they are allowed', async () => {
  const { path, qemuImg, open } = await given();
  await writeFile(path('raw'), content);
  qemuImg('create', '-q', '-f', 'qcow2', '-o', 'data_file=data,data_file_raw=on', 'image', String(content.length));
  {
    await using device = await open('image', 'qcow2', { references: 'allowed', writable: true });
    await device.write(content, 0);
    await device.flush();
  }
  expect((await readFile(path('data'))).equals(content)).toBe(true);
  for (const kind of ['monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']) {
    qemuImg('convert', '-f', 'raw', '-O', 'vmdk', '-o', `subformat=${kind}`, 'raw', `${kind}.vmdk`);
    await expect(open(`${kind}.vmdk`, 'vmdk')).rejects.toEqual(code('format-unsafe'));
    await using device = await open(`${kind}.vmdk`, 'vmdk', { references: 'allowed' });
    expect((await contentOf(device)).equals(content), kind).toBe(true);
  }
});

test('no name inside an image leads out of the allowed folders', async () => {
  const { folder, path, qemuImg, open } = await given();
  const outside = join(folder, 'elsewhere', 'secret');
  await writeFile(outside, content);
  await symlink(outside, path('link'));
  await symlink(join(folder, 'elsewhere'), path('folder'));
  const create = (name: string, backing: string) =>
    qemuImg('create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'raw', '-u', name, '2M');
  const ways = [outside, '../elsewhere/secret', 'link', 'folder/secret', '/dev/null', '/etc/passwd'];
  for (const [index, way] of ways.entries()) {
    create(`way-${index}`, way);
    await expect(open(`way-${index}`, 'qcow2', { references: 'allowed' }), way).rejects.toEqual(code('forbidden'));
  }
  for (const [index, way] of [
    'json:{"driver":"file","filename":"/etc/passwd"}',
    'nbd://127.0.0.1/',
    'file:link',
  ].entries()) {
    create(`word-${index}`, way);
    await expect(open(`word-${index}`, 'qcow2', { references: 'allowed' }), way).rejects.toEqual(code('format-unsafe'));
  }
  await expect(open('link', 'raw')).rejects.toEqual(code('forbidden'));
});

test('a raw backing file whose guest wrote a qcow2 header is not taken for one', async () => {
  const { path, qemuImg, open } = await given();
  qemuImg('create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', '-u', 'trap', '2M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'trap', '-F', 'raw', '-u', 'top', '2M');
  await expect(open('top', 'qcow2', { references: 'allowed' })).rejects.toEqual(code('format-unsafe'));
  const silent = await readFile(path('top'));
  silent.writeUInt32BE(0x12345678, silent.indexOf(Buffer.from('e2792aca', 'hex')));
  await writeFile(path('silent'), silent);
  await expect(open('silent', 'qcow2', { references: 'allowed' })).rejects.toThrow('guessing');
});

test('an image that stands on itself is refused', async () => {
  const { qemuImg, open } = await given();
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'b', '-F', 'qcow2', '-u', 'a', '2M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', 'a', '-F', 'qcow2', '-u', 'b', '2M');
  await expect(open('a', 'qcow2', { references: 'allowed' })).rejects.toThrow('itself');
});

test('a header that is exchanged between the check and the start is not followed', async () => {
  const { folder, path, qemuImg, tools, run } = await given();
  await writeFile(join(folder, 'elsewhere', 'secret'), Buffer.alloc(2 ** 21, 'secret'));
  qemuImg('create', '-q', '-f', 'qcow2', 'image', '2M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', '../elsewhere/secret', '-F', 'raw', '-u', 'backed', '2M');
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${folder}/elsewhere/secret,data_file_raw=on`, 'split', '2M');
  const opened = async (exchange: string) => {
    const file = await openImageFile(path('image'), [folder]);
    const late = {
      ...tools,
      serve: async (...args: Parameters<typeof tools.serve>) => {
        await writeFile(path('image'), await readFile(path(exchange)));
        return tools.serve(...args);
      },
    };
    return openImageDevice(late, { file, format: 'qcow2', writable: false, references: 'allowed' });
  };
  {
    await using device = await opened('backed');
    expect((await contentOf(device)).equals(Buffer.alloc(2 ** 21))).toBe(true);
  }
  qemuImg('create', '-q', '-f', 'qcow2', 'image', '2M');
  await expect(opened('split')).rejects.toEqual(code('format-unsafe'));
  expect(await servers(run)).toEqual([]);
});

test('two writers: the second one is told that the image is in use, without any path', async () => {
  const { folder, qemuImg, open, run } = await given();
  qemuImg('create', '-q', '-f', 'qcow2', 'image', '2M');
  await using _first = await open('image', 'qcow2', { writable: true });
  const error = await open('image', 'qcow2', { writable: true }).catch((found: unknown) => found);
  expect(error).toEqual(code('in-use'));
  expect(String(error)).not.toContain(folder);
  expect(String(error)).not.toContain('/proc');
  expect(await servers(run)).toHaveLength(1);
});

test('formats that QEMU cannot serve are unsupported', async () => {
  const { path, open } = await given();
  await writeFile(path('image.gz'), Buffer.from('1f8b0800000000000003', 'hex'));
  await expect(open('image.gz', 'gz')).rejects.toEqual(code('unsupported'));
});

test('no process and no file outlives its Device; one that is killed is told with all that was under way', async () => {
  const { run, qemuImg, open } = await given();
  qemuImg('create', '-q', '-f', 'qcow2', 'image', '64M');
  const device = await open('image', 'qcow2', { writable: true });
  const [pid = 0] = await servers(run);
  process.kill(pid, 'SIGSTOP');
  const under = [device.write(content, 0), device.read(Buffer.alloc(2 ** 20), 2 ** 23), device.flush()];
  process.kill(pid, 'SIGKILL');
  for (const each of await Promise.allSettled(under)) expect(each).toMatchObject({ reason: code('connection-lost') });
  await expect(device.flush()).rejects.toEqual(code('connection-lost'));
  await device[Symbol.asyncDispose]();
  expect(await servers(run)).toEqual([]);
  expect(await readdir(run)).toEqual([]);

  const second = await open('image', 'qcow2', { writable: true });
  await second[Symbol.asyncDispose]();
  expect(await servers(run)).toEqual([]);
  expect(await readdir(run)).toEqual([]);
});

/** A process of ours that serves `image` and says so, then waits. */
async function mortal(run: string, image: string, how: string): Promise<ChildProcess> {
  const script = `
    import { QemuNbdSupervisor } from ${JSON.stringify(new URL('./qemu-nbd.ts', import.meta.url).href)};
    import { openImageFile } from ${JSON.stringify(new URL('./image-files.ts', import.meta.url).href)};
    const supervisor = await QemuNbdSupervisor.open(${JSON.stringify(run)}, () => 'one');
    const file = await openImageFile(${JSON.stringify(image)}, ['/']);
    const layer = { file, format: 'raw', virtualSize: file.size, backing: null, dataFile: null, extents: null };
    await supervisor.start({ image: layer, writable: true });
    console.log('ready');
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: how },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout ?? child, 'data');
  return child;
}

test('kill -9 of us ends it too', async () => {
  const { run, path } = await given();
  await writeFile(path('image'), content);
  const child = await mortal(run, path('image'), process.env.PATH ?? '');
  expect(await servers(run)).toHaveLength(1);
  child.kill('SIGKILL');
  await expect.poll(() => servers(run)).toEqual([]);
});

test('one that outlived a kill -9 all the same is ended by the next start, its number alone ends nobody', async () => {
  const { folder, run, path } = await given();
  await writeFile(path('image'), content);
  // A setpriv that forgets what it is for, as on a machine without it.
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(join(bin, 'setpriv'), '#!/bin/sh\nshift 2\nexec "$@"\n', { mode: 0o755 });
  const child = await mortal(run, path('image'), `${bin}:${process.env.PATH}`);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await servers(run)).toHaveLength(1);
  const bystander = spawn('sleep', ['60']);
  onTestFinished(() => void bystander.kill());
  const [name = ''] = (await readdir(run)).filter((file) => file.endsWith('.json'));
  const record: unknown = JSON.parse(await readFile(join(run, name), 'utf8'));
  await writeFile(join(run, 'other.process.json'), JSON.stringify({ ...(record as object), pid: bystander.pid }));
  await using _next = await QemuNbdSupervisor.open(run, randomUUID);
  expect(await servers(run)).toEqual([]);
  expect(await readdir(run)).toEqual([]);
  expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
});
