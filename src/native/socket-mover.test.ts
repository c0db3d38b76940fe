import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { MovedSegment, MoveEnd } from '../core/mover.ts';
import { duplicate } from './duplicate.ts';
import { openSocketMover, type SocketMover } from './socket-mover.ts';

const MiB = 1024 * 1024;

interface Stage {
  readonly mover: SocketMover;
  readonly client: Socket;
  readonly file: FileHandle;
  readonly path: string;
  /** Of the server's end; node reads nothing of it. */
  readonly fd: number;
  readonly server: Socket;
}

async function given(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-mover-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  const file = await open(path, 'w+');
  onTestFinished(() => file.close());
  const listener = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve));
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('was to listen on a port');
  const client = connect(address.port, '127.0.0.1').on('error', () => {});
  const server = await accepted;
  listener.close();
  onTestFinished(() => {
    client.destroy();
    server.destroy();
  });
  const copy = duplicate(Reflect.get(Reflect.get(server, '_handle'), 'fd'));
  const mover = openSocketMover();
  if (copy === undefined || mover === undefined) throw new Error('this machine has no mover');
  onTestFinished(async () => {
    await mover[Symbol.asyncDispose]();
    copy.close();
  });
  return { mover, client, file, path, fd: copy.fd, server };
}

function slabs(count: number) {
  return Array.from({ length: count }, (_, index) => ({ index, shared: new SharedArrayBuffer(MiB) }));
}

interface Options {
  readonly lead?: Buffer;
  readonly slabs?: number;
  readonly acknowledge?: boolean;
  readonly digests?: boolean;
  readonly skipsZeros?: boolean;
  readonly patience?: number;
}

function begin(stage: Stage, length: number, options: Options = {}) {
  const segments: MovedSegment[] = [];
  const { promise: ended, resolve } = Promise.withResolvers<MoveEnd>();
  const move = stage.mover.begin(
    {
      socket: stage.fd,
      lead: options.lead ?? Buffer.alloc(0),
      file: stage.file.fd,
      range: { offset: 0, length },
      digests: options.digests ?? true,
      skipsZeros: options.skipsZeros ?? true,
      patience: options.patience ?? 30_000,
      slabs: slabs(options.slabs ?? 8),
    },
    {
      moved: (more) => {
        segments.push(...more);
        if (options.acknowledge !== false) move?.dealtWith(more.length);
      },
      ended: resolve,
    },
  );
  if (move === undefined) throw new Error('was to begin');
  return { move, segments, ended };
}

test.each([1, 2, 8])(
  'with %i slabs each block is written and has its digest; nothing behind the body is read',
  async (count) => {
    const stage = await given();
    const bytes = randomBytes(20 * MiB + 5);
    stage.client.write(bytes.subarray(1000));
    stage.client.write('behind');
    const { segments, ended } = begin(stage, bytes.length, { lead: bytes.subarray(0, 1000), slabs: count });
    expect(await ended).toEqual({ kind: 'returned' });
    expect((await readFile(stage.path)).equals(bytes)).toBe(true);
    let next = 0;
    for (const { offset, length, sha256 } of segments) {
      expect(offset).toBe(next);
      next += length;
      expect(sha256).toBe(createHash('sha256').update(bytes.subarray(offset, next)).digest('hex'));
    }
    expect(next).toBe(bytes.length);
    stage.server.resume();
    const left = await new Promise<Buffer>((resolve) => stage.server.once('data', resolve));
    expect(left.toString()).toBe('behind');
  },
);

test('without digests zeros too are written as they come, when that is wanted', async () => {
  const stage = await given();
  const bytes = Buffer.concat([randomBytes(MiB), Buffer.alloc(2 * MiB), randomBytes(5)]);
  await stage.file.write(Buffer.alloc(bytes.length, 'o'));
  stage.client.write(bytes);
  const { segments, ended } = begin(stage, bytes.length, { digests: false, skipsZeros: false, slabs: 1 });
  expect(await ended).toEqual({ kind: 'returned' });
  expect((await readFile(stage.path)).equals(bytes)).toBe(true);
  expect(segments.map(({ zero, sha256 }) => [zero, sha256])).toEqual(Array(4).fill([false, null]));
});

test('a client that says nothing for too long goes back to the owner, with what it sent', async () => {
  const stage = await given();
  stage.client.write(randomBytes(1000));
  const { segments, ended } = begin(stage, 3 * MiB, { digests: false, patience: 300 });
  expect(await ended).toEqual({ kind: 'returned' });
  expect(segments).toEqual([{ offset: 0, length: 1000, zero: false, sha256: null }]);
});

test('it does not run far ahead of who hears of it', async () => {
  const stage = await given();
  const { move, segments, ended } = begin(stage, 400 * MiB, { acknowledge: false });
  const block = randomBytes(MiB);
  for (let i = 0; i < 200; i++) stage.client.write(block);
  await vi.waitFor(() => expect(segments.length).toBeGreaterThanOrEqual(128), { timeout: 30_000 });
  expect(segments.length).toBeLessThan(132);
  move.dealtWith(64);
  await vi.waitFor(() => expect(segments.length).toBeGreaterThanOrEqual(192), { timeout: 30_000 });
  expect(segments.length).toBeLessThan(196);
  move.recall();
  expect(await ended).toEqual({ kind: 'returned' });
});

test('a recall comes back at once, with what has come; the lead that was not reached is still the owner’s', async () => {
  const stage = await given();
  const { move, segments, ended } = begin(stage, 100 * MiB);
  stage.client.write(randomBytes(100));
  await vi.waitFor(() => expect(segments.length).toBe(1), { timeout: 30_000 });
  stage.client.write(randomBytes(1.5 * MiB));
  await vi.waitFor(() => expect(segments.length).toBeGreaterThan(1), { timeout: 30_000 });
  move.recall();
  move.recall();
  await ended;
  const last = segments.at(-1);
  expect((last?.offset ?? 0) + (last?.length ?? 0)).toBeGreaterThanOrEqual(MiB);
});

test('what the file does not take comes back', async () => {
  const stage = await given();
  await stage.file.close();
  stage.client.write(randomBytes(3 * MiB));
  const bytes = randomBytes(10);
  const readOnly = await open(stage.path, 'r');
  onTestFinished(() => readOnly.close());
  const { ended, segments } = begin({ ...stage, file: readOnly }, 3 * MiB + 10, { lead: bytes });
  const how = await ended;
  if (how.kind !== 'unwritten') throw new Error(`was not to end as ${how.kind}`);
  expect(how.bytes.length).toBe(MiB);
  expect(Buffer.from(how.bytes).subarray(0, 10).equals(bytes)).toBe(true);
  expect(segments).toEqual([]);
});

test('when its threads end the moves are lost, and that is told', async () => {
  const stage = await given();
  const { ended } = begin(stage, 10 * MiB);
  await stage.mover[Symbol.asyncDispose]();
  expect(await ended).toMatchObject({ kind: 'lost' });
  const events = { moved: () => {}, ended: () => {} };
  const request = {
    socket: stage.fd,
    lead: Buffer.alloc(0),
    file: stage.file.fd,
    range: { offset: 0, length: 10 },
    digests: true,
    skipsZeros: true,
    patience: 30_000,
    slabs: slabs(1),
  };
  expect(stage.mover.begin(request, events)).toBeUndefined();
});
