import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { testWith } from '../needs.ts';
import { type Answer, type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

const MiB = 1024 * 1024;
const FAILED = [500, 'Server failed to perform the request, check logs\n'];

const info = async (stage: Stage, id: string) =>
  JSON.parse((await stage.call({ to: stage.control, path: `/tickets/${id}` })).text);

const said = ({ status, text }: Answer) => [status, text];

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-failures-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A block device of 64 MiB whose filesystem below has room for 8: all can be written, not all flushed. */
async function tooSmall(): Promise<string> {
  const folder = await newFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', folder]);
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
  return loopOver(join(folder, 'backing'), 64 * MiB);
}

async function loopOver(backing: string, size: number): Promise<string> {
  await writeFile(backing, '');
  await truncate(backing, size);
  const device = execFileSync('losetup', ['-f', '--show', backing]).toString().trim();
  onTestFinished(() => void execFileSync('losetup', ['-d', device]));
  return device;
}

testWith('loop')('what a device took and could not keep is told by its flush, and by each one after it', async () => {
  const device = await tooSmall();
  await using stage = await startStage({ roots: [device] }, 16);
  const id = await stage.ticket({ url: `file://${device}`, size: 64 * MiB });
  const put = (flush: 'y' | 'n', offset: number, length: number) =>
    stage.call({
      to: stage.http,
      method: 'PUT',
      path: `/images/${id}?flush=${flush}`,
      headers: { 'content-range': `bytes ${offset}-*/*` },
      body: randomBytes(length),
    });
  const flush = () =>
    stage.call({ to: stage.http, method: 'PATCH', path: `/images/${id}`, body: JSON.stringify({ op: 'flush' }) });
  // A connection that stays keeps the device open: what it has told once it tells again.
  await using stays = await RawClient.open(stage.http);
  stays.send(`OPTIONS /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
  await stays.until(/max_readers/);
  const moved = stage.moved();
  expect((await put('n', 0, 4 * MiB)).status).toBe(200);
  expect((await flush()).status).toBe(200);
  expect(said(await put('y', 16 * MiB, 24 * MiB))).toEqual(FAILED);
  expect(stage.moved() - moved).toBe(28 * MiB);
  expect(stage.log).toContainEqual(expect.objectContaining({ event: 'imageio.fault', code: 'store-failed' }));
  // The kernel says it once; that nothing more can be promised stays true.
  expect(said(await flush())).toEqual(FAILED);
  expect(said(await put('y', 0, MiB))).toEqual(FAILED);
  expect(await info(stage, id)).toMatchObject({ active: false, transferred: 28 * MiB });
});

testWith('loop')('a disk that fails in the middle of a download cuts it there', async () => {
  const backing = join(await newFolder(), 'backing');
  const device = await loopOver(backing, 64 * MiB);
  await using stage = await startStage({ roots: [device] }, 16);
  const id = await stage.ticket({ url: `file://${device}`, size: 64 * MiB, ops: ['read'] });
  await truncate(backing, 24 * MiB);
  const sent = stage.sent();
  await using client = await RawClient.open(stage.http);
  client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
  await client.closed;
  const body = client.text.length - client.text.indexOf('\r\n\r\n') - 4;
  expect(client.text).toMatch(/^HTTP\/1\.1 200 OK/);
  expect(body).toBeLessThanOrEqual(24 * MiB);
  expect(body).toBeGreaterThan(16 * MiB);
  expect(stage.sent() - sent).toBeGreaterThan(16 * MiB);
  while ((await info(stage, id)).active) await new Promise((resolve) => setImmediate(resolve));
  expect((await info(stage, id)).transferred).toBe(body);
  expect(stage.log).toContainEqual(expect.objectContaining({ event: 'imageio.fault', code: 'store-failed' }));
  const whole = await stage.call({ to: stage.http, path: `/images/${id}`, headers: { range: `bytes=0-${MiB - 1}` } });
  expect([whole.status, whole.body.length]).toEqual([206, MiB]);
});

testWith('nbdkit')(
  'an NBD server whose disk fails: 500 for what is written, a cut for what is read, then on',
  async () => {
    const folder = await newFolder();
    const [socket, fails, pid] = [join(folder, 's'), join(folder, 'fails'), join(folder, 'pid')];
    const filter = ['--filter=error', 'memory', 'size=32M', 'error=EIO', 'error-rate=100%', `error-file=${fails}`];
    const server = spawn('nbdkit', ['-f', '-U', socket, '-P', pid, ...filter], { stdio: 'ignore' });
    onTestFinished(async () => {
      server.kill();
      if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    });
    while (!existsSync(pid)) await wait(10);
    await using stage = await startStage({}, 16);
    const id = await stage.ticket({ url: `nbd:unix:${socket}`, size: 32 * MiB });
    const bytes = randomBytes(32 * MiB);
    await using client = await RawClient.open(stage.http);
    client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes.length}\r\n\r\n`);
    client.send(bytes.subarray(0, 8 * MiB));
    while ((await info(stage, id)).transferred < 6 * MiB) await wait(1);
    await writeFile(fails, '');
    client.send(bytes.subarray(8 * MiB));
    expect(await client.until(/check logs\n$/)).toMatch(/^HTTP\/1\.1 500 /);
    expect(stage.log).toContainEqual(expect.objectContaining({ event: 'imageio.fault', code: 'store-failed' }));
    expect((await info(stage, id)).transferred).toBeLessThan(bytes.length);
    const broken = stage.call({ to: stage.http, path: `/images/${id}` });
    await expect(broken).rejects.toThrow();
    await rm(fails);
    const again = await stage.call({ to: stage.http, method: 'PUT', path: `/images/${id}`, body: bytes });
    expect(again.status).toBe(200);
    expect((await stage.call({ to: stage.http, path: `/images/${id}` })).body.equals(bytes)).toBe(true);
  },
);
