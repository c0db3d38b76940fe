import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RangeSet } from '../../src/core/range.ts';
import { call } from './imageio-stage.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MiB = 1024 * 1024;
const SIZE = 64 * MiB;
let folder: string;
let child: ChildProcess | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-imageio-crash-'));
  for (const name of ['data', 'images']) await mkdir(join(folder, name), { mode: 0o700 });
  const yaml = `imageio: {unix: ${join(folder, 'data.sock')}, control: ${join(folder, 'control.sock')}, roots: [${join(folder, 'images')}]}\n`;
  await writeFile(join(folder, 'hawser.yaml'), yaml);
});
afterEach(async () => {
  await end('SIGTERM');
  await rm(folder, { recursive: true, force: true });
});

async function serve(): Promise<void> {
  const addresses = join(folder, 'data', 'run', 'addresses.json');
  await rm(addresses, { force: true });
  const env = {
    ...process.env,
    HAWSER_DATA_DIR: join(folder, 'data'),
    HAWSER_CONFIG: join(folder, 'hawser.yaml'),
    HAWSER_LISTEN: '127.0.0.1:0',
    HAWSER_DATA_LISTEN: '127.0.0.1:0',
    HAWSER_AGENT_LISTEN: '127.0.0.1:0',
  };
  const started = spawn(join(root, 'bin/hawser'), ['serve'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  child = started;
  let said = '';
  for (const stream of [started.stdout, started.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  while (!existsSync(addresses)) {
    if (started.exitCode !== null || started.signalCode !== null) throw new Error(`serve ended: ${said}`);
    await delay(20);
  }
}

async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  const ending = child;
  child = undefined;
  if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
  const gone = new Promise((resolve) => ending.once('exit', resolve));
  ending.kill(signal);
  await gone;
}

const control = (method: string, path: string, body?: string) =>
  call({ to: join(folder, 'control.sock'), method, path, ...(body === undefined ? {} : { body }) });
const put = (id: string, offset: number, body: Buffer) =>
  call({
    to: join(folder, 'data.sock'),
    method: 'PUT',
    path: `/images/${id}?flush=n`,
    headers: { 'content-range': `bytes ${offset}-*/*` },
    body,
  });

test('killed again and again in the middle of an upload: no wrong byte, progress right, the same ticket to the end', async () => {
  const source = randomBytes(SIZE);
  const path = join(folder, 'images', 'image.raw');
  await writeFile(path, '');
  await truncate(path, SIZE);
  await serve();
  const id = randomUUID();
  const ticket = { uuid: id, size: SIZE, url: `file://${path}`, timeout: 300, ops: ['write'] };
  expect((await control('PUT', `/tickets/${id}`, JSON.stringify(ticket))).status).toBe(200);
  const acked = new RangeSet();
  const tried = new RangeSet();
  const info = async () => JSON.parse((await control('GET', `/tickets/${id}`)).text);

  for (let round = 0; round < 4; round++) {
    const last = round === 3;
    let kill = last ? Number.POSITIVE_INFINITY : 8 + randomInt(8);
    let killing: Promise<void> | undefined;
    const todo = [...acked.missing({ offset: 0, length: SIZE })].flatMap(({ offset, length }) =>
      Array.from({ length: Math.ceil(length / MiB) }, (_, i) => ({
        offset: offset + i * MiB,
        length: Math.min(MiB, length - i * MiB),
      })),
    );
    const worker = async () => {
      for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
        if (kill-- === 0) killing = end('SIGKILL');
        if (killing !== undefined) return;
        tried.add(next);
        const { offset, length } = next;
        const answer = await put(id, offset, source.subarray(offset, offset + length)).catch(() => undefined);
        if (answer === undefined) return;
        expect(answer.status).toBe(200);
        acked.add(next);
      }
    };
    await Promise.all(Array.from({ length: 4 }, worker));
    await killing;
    if (!last) await serve();
    const { transferred, canceled } = await info();
    expect(canceled).toBe(false);
    // What was answered counts; what was under way may, as far as it was written.
    expect(transferred).toBeGreaterThanOrEqual(acked.bytes);
    expect(transferred).toBeLessThanOrEqual(tried.bytes);
    const bytes = await readFile(path);
    for (const { offset, length } of acked) {
      expect(bytes.subarray(offset, offset + length).equals(source.subarray(offset, offset + length))).toBe(true);
    }
    for (const { offset, length } of tried.missing({ offset: 0, length: SIZE })) {
      expect(bytes.subarray(offset, offset + length).equals(Buffer.alloc(length))).toBe(true);
    }
  }
  expect((await info()).transferred).toBe(SIZE);
  expect((await call({ to: join(folder, 'data.sock'), path: `/images/${id}` })).body.equals(source)).toBe(true);
  expect((await control('DELETE', `/tickets/${id}`)).status).toBe(204);
  await end('SIGKILL');
  await serve();
  expect((await control('GET', `/tickets/${id}`)).status).toBe(404);
});

test('our client goes on through kill -9 of the server, and after Ctrl-C with the same command', async () => {
  const [source, path] = [join(folder, 'source.raw'), join(folder, 'images', 'image.raw')];
  const size = 384 * MiB;
  await writeFile(source, '');
  await promisify(execFile)('dd', ['if=/dev/urandom', `of=${source}`, 'bs=1M', 'count=384', 'status=none']);
  await writeFile(path, '');
  await serve();
  const id = randomUUID();
  const ticket = { uuid: id, size, url: `file://${path}`, timeout: 300, ops: ['write'], sparse: true };
  expect((await control('PUT', `/tickets/${id}`, JSON.stringify(ticket))).status).toBe(200);
  const upload = () => hawser('upload', source, `unix:${join(folder, 'data.sock')}:/images/${id}`, '--json');

  const stopped = upload();
  await until(path, 64 * MiB);
  stopped.process.kill('SIGINT');
  const first = await stopped.done;
  expect(first).toMatchObject({ code: 130, last: { event: 'interrupted', resumable: true } });

  const outlasting = upload();
  await until(path, 192 * MiB);
  await end('SIGKILL');
  await serve();
  const second = await outlasting.done;
  expect(second).toMatchObject({ code: 0, last: { event: 'done', verified: true, size } });
  const { keptBytes = 0, sentBytes = 0 } = second.last;
  expect(keptBytes).toBeGreaterThan(32 * MiB);
  expect(keptBytes + sentBytes).toBe(size);
  await promisify(execFile)('cmp', [source, path]);
});

/** So many bytes have been written there. */
async function until(path: string, bytes: number): Promise<void> {
  while ((await stat(path)).blocks * 512 < bytes) await delay(5);
}

interface Running {
  readonly process: ChildProcess;
  readonly done: Promise<{ readonly code: number | null; readonly last: Readonly<Record<string, number>> }>;
}

function hawser(...args: string[]): Running {
  const process_ = spawn(join(root, 'bin/hawser'), args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [process_.stdout, process_.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const done = once(process_, 'close').then(([code]) => {
    const last = said.trim().split('\n').at(-1) ?? '';
    if (!last.startsWith('{')) throw new Error(said);
    return { code, last: JSON.parse(last) };
  });
  return { process: process_, done };
}
