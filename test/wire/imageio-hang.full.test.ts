import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { testWith } from '../needs.ts';
import { call, type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';
import { startServing } from './serving.ts';

const MiB = 1024 * 1024;

/** A filesystem of its own; `freeze` makes whoever writes to it hang in the kernel, as a disk that is gone does. */
async function makeFilesystem(at: Pick<Stage, 'images' | 'folder'>, name: string, undo: DisposableStack) {
  const folder = join(at.images, name);
  const image = join(at.folder, `${name}.ext4`);
  execFileSync('truncate', ['-s', '128M', image]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', image]);
  await mkdir(folder);
  execFileSync('mount', ['-o', 'loop', image, folder]);
  let frozen = false;
  const thaw = () => {
    if (frozen) execFileSync('fsfreeze', ['-u', folder]);
    frozen = false;
  };
  undo.defer(() => {
    thaw();
    execFileSync('umount', ['-l', folder]);
  });
  const freeze = () => {
    execFileSync('fsfreeze', ['-f', folder]);
    frozen = true;
  };
  return { folder, freeze, thaw };
}

/** Threads of a process that wait in the kernel and cannot be interrupted. */
function hanging(pid = process.pid): number {
  let count = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
    if (stat.slice(stat.lastIndexOf(')')).startsWith(') D')) count++;
  }
  return count;
}

/** A PUT in whose middle its filesystem hangs, and the thread that writes with it. */
async function hangingPut(stage: Stage, name: string, undo: DisposableStack) {
  const filesystem = await makeFilesystem(stage, name, undo);
  const path = join(filesystem.folder, 'image');
  await writeFile(path, Buffer.alloc(8 * MiB));
  const id = await stage.ticket({ url: `file://${path}`, size: 8 * MiB, inactivity_timeout: 3600 });
  const [bytes, before] = [randomBytes(8 * MiB), stage.moved()];
  const client = await RawClient.open(stage.http);
  undo.defer(() => void client.socket.destroy());
  client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes.length}\r\n\r\n`);
  client.send(bytes.subarray(0, 2 * MiB));
  while (stage.moved() - before < 2 * MiB) await new Promise((resolve) => setImmediate(resolve));
  const held = hanging();
  filesystem.freeze();
  client.send(bytes.subarray(2 * MiB));
  while (hanging() <= held) await new Promise((resolve) => setImmediate(resolve));
  return { ...filesystem, path, client, bytes };
}

testWith('loop', 'mke2fs')('a disk that hangs holds only those who use it, in whichever order they come', async () => {
  await using stage = await startStage({}, 24);
  using undo = new DisposableStack();
  const path = join(stage.images, 'healthy');
  const content = randomBytes(8 * MiB);
  await writeFile(path, content);
  const put = (id: string, body: Buffer) => stage.call({ to: stage.http, method: 'PUT', path: `/images/${id}`, body });
  const id = await stage.ticket({ url: `file://${path}`, size: content.length });
  const hung = [await hangingPut(stage, 'one', undo)];
  for (const name of ['two', 'three']) {
    const [body, moved, sent] = [randomBytes(8 * MiB), stage.moved(), stage.sent()];
    expect((await put(id, body)).status).toBe(200);
    expect(stage.moved() - moved).toBe(body.length);
    const got = await stage.call({ to: stage.http, path: `/images/${id}` });
    expect(got.body.equals(body)).toBe(true);
    while (stage.sent() - sent < body.length) await new Promise((resolve) => setImmediate(resolve));
    expect((await stage.call({ to: stage.control, path: `/tickets/${id}` })).status).toBe(200);
    hung.push(await hangingPut(stage, name, undo));
  }
  for (const { thaw, client, path: written, bytes } of hung) {
    thaw();
    expect(await client.until(/^HTTP\/1\.1 \d+/)).toMatch(/^HTTP\/1\.1 200/);
    expect((await readFile(written)).equals(bytes)).toBe(true);
  }
});

testWith('loop', 'mke2fs')('short bodies for a disk that hangs leave threads for everything else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-hang-'));
  using undo = new DisposableStack();
  undo.defer(() => rmSync(folder, { recursive: true, force: true }));
  const control = join(folder, 'control.sock');
  const yaml = `imageio: {http: "127.0.0.1:0", control: ${control}, roots: [${folder}]}\n`;
  await using serving = await startServing({ yaml });
  const addresses = JSON.parse(await readFile(join(serving.dataDir, 'run', 'addresses.json'), 'utf8'));
  using filesystem = new DisposableStack();
  const disk = await makeFilesystem({ images: folder, folder }, 'disk', filesystem);
  const ticket = async (path: string) => {
    await writeFile(path, Buffer.alloc(MiB));
    const uuid = randomUUID();
    const body = JSON.stringify({ uuid, size: MiB, url: `file://${path}`, ops: ['write'], timeout: 300 });
    expect((await call({ to: control, method: 'PUT', path: `/tickets/${uuid}`, body })).status).toBe(200);
    return uuid;
  };
  const put = (id: string, byte: string) =>
    call({ to: addresses.imageioHttp, method: 'PUT', path: `/images/${id}?flush=n`, body: Buffer.alloc(MiB, byte) });
  const hung: string[] = [];
  for (let i = 0; i < 6; i++) hung.push(await ticket(join(disk.folder, `image-${i}`)));
  const healthy = join(folder, 'healthy');
  const id = await ticket(healthy);
  disk.freeze();
  const waiting = hung.map((each) => put(each, 'h'));
  while (hanging(serving.pid) < hung.length) await new Promise((resolve) => setImmediate(resolve));
  expect((await put(id, 'x')).status).toBe(200);
  expect((await readFile(healthy)).equals(Buffer.alloc(MiB, 'x'))).toBe(true);
  disk.thaw();
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(hung.map(() => 200));
});
