import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { HawserError, toHawserError } from '../../core/errors.ts';
import { HashPool } from '../../engine/hash-pool.ts';
import { SlabPool } from '../../engine/slab-pool.ts';
import { sourceOf } from '../../engine/testing/rig.ts';
import { openChunkLogs } from '../../host/chunk-logs.ts';
import { openStateFolder } from '../../host/state-folder.ts';
import { openMemoryStore } from '../../stores/memory/store.ts';
import type { Store } from '../../stores/store.ts';
import { HostAgent } from './host-agent.ts';
import type { UploadServerWire } from './upload-server-wire.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const never = new AbortController().signal;
const storeId = randomUUID();
const hashes = new HashPool(2);
afterAll(() => hashes[Symbol.asyncDispose]());

interface Stage extends AsyncDisposable {
  agent: HostAgent;
  readonly store: Store;
  readonly folder: string;
  /** What listens, by port. */
  readonly listening: Map<number, UploadServerWire>;
  open(declaredSize: number | null): Promise<{ readonly uploadId: string; readonly key: string }>;
  /** Launches its server, if it is not there, and answers what it does. */
  wire(uploadId: string): Promise<UploadServerWire>;
  /** As after kill -9: what is in memory is gone, what is in the folder and in the Store stays. */
  restart(meanwhile?: (folder: string) => Promise<void>): Promise<void>;
  content(key: string): Promise<Buffer>;
}

/** A real agent over a real state folder, real chunk logs and a Store in memory; servers are called without HTTP. */
async function stage(capacity = 512 * MiB): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-upload-servers-'));
  const store = openMemoryStore({ name: 'test', capacity });
  const listening = new Map<number, UploadServerWire>();
  const start = async () =>
    HostAgent.start({
      hostId: randomUUID(),
      name: 'test',
      bootId: 'boot',
      version: '0',
      dataUrls: () => [],
      stores: [{ storeId, name: 'test', store }],
      state: await openStateFolder(join(folder, 'state')),
      means: { slabs: new SlabPool(8), hashes },
      totalRate: null,
      uploadServers: {
        logs: await openChunkLogs(join(folder, 'chunks')),
        listeners: {
          ports: [7900, 7901, 7902],
          address: () => '192.0.2.1',
          listen: async (wire, port) => {
            if (listening.has(port)) throw new HawserError('in-use', 'taken');
            listening.set(port, wire);
            return { port, close: async () => void listening.delete(port) };
          },
        },
      },
      now: () => new Date(),
      monotonic: () => performance.now(),
      log: { info: () => {}, warn: () => {} },
    });
  const made: Stage = {
    agent: await start(),
    store,
    folder,
    listening,
    async open(declaredSize) {
      const ref = { uploadId: randomUUID(), generation: 1 };
      const key = randomUUID();
      const rateLimit = { task: null, user: null, userId: 'u' };
      const reserve = declaredSize ?? 0;
      const rest = { storeId, key, reserve, format: 'auto' as const, rateLimit, digests: [] };
      await made.agent.call('openUpload', { ...ref, ...rest, declaredSize, maxSize: null });
      return { uploadId: ref.uploadId, key };
    },
    async wire(uploadId) {
      const { port } = await made.agent.call('launchUploadServer', { uploadId, generation: 1 });
      const wire = listening.get(port);
      if (wire === undefined) throw new Error(`nothing listens at ${port}`);
      return wire;
    },
    async restart(meanwhile) {
      await made.agent.close();
      listening.clear();
      await meanwhile?.(folder);
      made.agent = await start();
    },
    async content(key) {
      await using reader = await store.open(key);
      const bytes = Buffer.alloc(reader.size);
      await reader.read(bytes, 0);
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      await made.agent.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return made;
}

function checksumOf(bytes: Uint8Array): string {
  return createHash('sha512').update(bytes).digest('hex').slice(0, 64);
}

/** Prepares and sends; answers whether it was there. */
async function send(wire: UploadServerWire, index: number, bytes: Uint8Array): Promise<boolean> {
  const checksum = checksumOf(bytes);
  if (await wire.prepareChunk({ index, size: bytes.length, checksum })) return true;
  await wire.uploadChunk({ index, checksum }, sourceOf(bytes), never);
  return false;
}

/** Their sizes are known before the first of them comes. */
async function prepareAll(wire: UploadServerWire, chunks: ReadonlyMap<number, Uint8Array>): Promise<void> {
  for (const [index, bytes] of chunks) {
    await wire.prepareChunk({ index, size: bytes.length, checksum: checksumOf(bytes) });
  }
}

/** What may be told in the course of it; a fault of ours is none of it. */
function refused(error: unknown): void {
  const codes = ['incomplete', 'conflict', 'range-conflict', 'unavailable', 'not-found', 'size-mismatch'];
  if (!codes.includes(toHawserError(error).code)) throw error;
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let offset = 0, next = 0; offset < bytes.length; next++) {
    const length = Math.min(sizes[next % sizes.length] ?? 1, bytes.length - offset);
    pieces.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return pieces;
}

test('uneven chunks from the last to the first: those whose place is not known wait, and nothing is sent twice', async () => {
  await using it = await stage();
  const bytes = randomBytes(5 * MiB + 3);
  const { uploadId, key } = await it.open(null);
  const wire = await it.wire(uploadId);
  await wire.start(bytes.length);
  const pieces = cut(bytes, [900 * KiB + 1, 1300 * KiB, 700 * KiB + 13]);
  for (const [index, piece] of [...pieces.entries()].reverse()) expect(await send(wire, index, piece)).toBe(false);
  for (const [index, piece] of pieces.entries()) expect(await send(wire, index, piece)).toBe(true);
  await wire.coalesceChunk({ size: bytes.length, count: pieces.length });
  expect((await it.content(key)).equals(bytes)).toBe(true);
  await wire.coalesceChunk({ size: bytes.length, count: pieces.length });
  await expect(wire.coalesceChunk({ size: 7, count: 1 })).rejects.toMatchObject({ code: 'size-mismatch' });
});

test('chunks of one size that turn out not to be all of one size are moved to where they belong', async () => {
  await using it = await stage();
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  // 0 and 2 look like a cut at every MiB; 1 says otherwise.
  const pieces = cut(bytes, [1 * MiB, 512 * KiB, 1 * MiB, 1536 * KiB]);
  for (const index of [0, 2]) await send(wire, index, pieces[index] ?? Buffer.alloc(0));
  expect((await it.agent.plane.ranges(uploadId)).ranges).toEqual([
    { offset: 0, length: 1 * MiB },
    { offset: 2 * MiB, length: 1 * MiB },
  ]);
  await send(wire, 3, pieces[3] ?? Buffer.alloc(0));
  await it.restart();
  const again = await it.wire(uploadId);
  expect(await send(again, 1, pieces[1] ?? Buffer.alloc(0))).toBe(false);
  for (const [index, piece] of pieces.entries()) expect(await send(again, index, piece)).toBe(true);
  await again.coalesceChunk({ size: bytes.length, count: 4 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a wrong checksum or length leaves nothing', async () => {
  await using it = await stage();
  const { uploadId } = await it.open(2 * MiB);
  const wire = await it.wire(uploadId);
  const bytes = randomBytes(1 * MiB);
  const checksum = checksumOf(bytes);
  expect(await wire.prepareChunk({ index: 0, size: bytes.length, checksum })).toBe(false);
  const upload = (body: Uint8Array) => wire.uploadChunk({ index: 0, checksum }, sourceOf(body), never);
  await expect(upload(randomBytes(1 * MiB))).rejects.toMatchObject({ code: 'digest-mismatch' });
  await expect(upload(randomBytes(1 * MiB + 1))).rejects.toMatchObject({ code: 'size-mismatch' });
  await expect(upload(bytes.subarray(1))).rejects.toMatchObject({ code: 'connection-lost' });
  await expect(wire.uploadChunk({ index: 1, checksum }, sourceOf(bytes), never)).rejects.toMatchObject({
    code: 'conflict',
  });
  expect((await it.agent.plane.ranges(uploadId)).receivedBytes).toBe(0);
  expect(await wire.prepareChunk({ index: 0, size: bytes.length, checksum })).toBe(false);
  await upload(bytes);
  expect(await wire.prepareChunk({ index: 0, size: bytes.length, checksum })).toBe(true);
});

test('a chunk that was damaged while the agent was away is noticed, cleaned away and taken anew', async () => {
  await using it = await stage();
  const { uploadId, key } = await it.open(2 * MiB);
  const wire = await it.wire(uploadId);
  const bytes = randomBytes(2 * MiB);
  for (const [index, piece] of cut(bytes, [1 * MiB]).entries()) await send(wire, index, piece);
  await it.agent.close();
  {
    await using writer = await it.store.reopen(key);
    await writer.write(Buffer.from('damage'), 4711);
  }
  await it.restart();
  const again = await it.wire(uploadId);
  expect(await send(again, 1, bytes.subarray(1 * MiB))).toBe(true);
  expect(await send(again, 0, bytes.subarray(0, 1 * MiB))).toBe(false);
  await again.coalesceChunk({ size: bytes.length, count: 2 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('another chunk under the same index replaces the first one', async () => {
  await using it = await stage();
  const { uploadId, key } = await it.open(null);
  const wire = await it.wire(uploadId);
  const [first, second, rest] = [randomBytes(1 * MiB), randomBytes(700 * KiB), randomBytes(300 * KiB)];
  await send(wire, 0, first);
  await send(wire, 1, rest);
  expect(await send(wire, 0, second)).toBe(false);
  expect(await send(wire, 1, rest)).toBe(true);
  const whole = Buffer.concat([second, rest]);
  await wire.coalesceChunk({ size: whole.length, count: 2 });
  expect((await it.content(key)).equals(whole)).toBe(true);
});

test('holes are named, extra chunks are dropped', async () => {
  await using it = await stage();
  const bytes = randomBytes(3 * MiB + 5);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [512 * KiB]);
  for (const [index, piece] of pieces.entries()) if (![1, 2, 5].includes(index)) await send(wire, index, piece);
  for (const extra of [7, 8, 11]) await send(wire, extra, randomBytes(300 * KiB));
  const coalesce = () => wire.coalesceChunk({ size: bytes.length, count: pieces.length });
  await expect(coalesce()).rejects.toMatchObject({ code: 'incomplete', details: { missing: [1, 2, 5], count: 7 } });
  await expect(coalesce()).rejects.toThrow('chunks 1-2, 5 of 7');
  for (const index of [5, 1, 2]) await send(wire, index, pieces[index] ?? Buffer.alloc(0));
  await coalesce();
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a native PUT goes on with what chunks began, and chunks with what a native PUT began', async () => {
  await using it = await stage();
  const bytes = randomBytes(4 * MiB);
  const pieces = cut(bytes, [1 * MiB]);
  const { uploadId, key } = await it.open(bytes.length);
  const put = (offset: number, length: number) =>
    it.agent.plane.receive(
      uploadId,
      { offset, length, total: null },
      sourceOf(bytes.subarray(offset, offset + length)),
      never,
    );
  await put(1 * MiB, 1 * MiB);
  const wire = await it.wire(uploadId);
  await send(wire, 0, pieces[0] ?? Buffer.alloc(0));
  expect(await send(wire, 1, pieces[1] ?? Buffer.alloc(0))).toBe(true);
  await put(2 * MiB, 2 * MiB);
  expect(await send(wire, 3, pieces[3] ?? Buffer.alloc(0))).toBe(true);
  await wire.coalesceChunk({ size: bytes.length, count: 4 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a native PUT was refused where a chunk had been put by a wrong guess', async () => {
  await using it = await stage();
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [512 * KiB, 1 * MiB, 1 * MiB, 1536 * KiB]);
  const piece = (index: number) => pieces[index] ?? Buffer.alloc(0);
  // 1 and 2 look like a cut at every MiB: 2 is put at 2 MiB and belongs at 1.5.
  await prepareAll(wire, new Map([1, 2].map((index) => [index, piece(index)])));
  for (const index of [1, 2]) await send(wire, index, piece(index));
  expect([...(await it.agent.plane.ranges(uploadId)).ranges]).toEqual([{ offset: 1 * MiB, length: 2 * MiB }]);
  const put = (offset: number, length: number) =>
    it.agent.plane.receive(
      uploadId,
      { offset, length, total: null },
      sourceOf(bytes.subarray(offset, offset + length)),
      never,
    );
  await put(2560 * KiB, 1536 * KiB);
  // Made room, and was not lost; whoever guesses again does not get there either.
  expect(await send(wire, 2, piece(2))).toBe(true);
  await it.restart();
  const again = await it.wire(uploadId);
  expect(await send(again, 2, piece(2))).toBe(true);
  await send(again, 0, piece(0));
  for (const index of [1, 2, 3]) expect(await send(again, index, piece(index))).toBe(true);
  await again.coalesceChunk({ size: bytes.length, count: 4 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a finish without a digest took a chunk that had been put by a wrong guess', async () => {
  await using it = await stage();
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [512 * KiB, 1 * MiB, 1 * MiB, 1536 * KiB]);
  // They belong at 0.5 and 1.5 MiB, and look like a cut at every MiB.
  await prepareAll(wire, new Map([1, 2].map((index) => [index, pieces[index] ?? Buffer.alloc(0)])));
  for (const index of [1, 2]) await send(wire, index, pieces[index] ?? Buffer.alloc(0));
  const put = (offset: number, length: number) =>
    it.agent.plane.receive(
      uploadId,
      { offset, length, total: null },
      sourceOf(bytes.subarray(offset, offset + length)),
      never,
    );
  await put(0, 1 * MiB);
  await put(3 * MiB, 1 * MiB);
  expect((await it.agent.plane.ranges(uploadId)).receivedBytes).toBe(bytes.length);
  await expect(wire.coalesceChunk({ size: bytes.length, count: 4 })).rejects.toMatchObject({
    code: 'incomplete',
    message: expect.stringContaining('Missing are chunks 0, 3 of 4'),
  });
  const finish = () => it.agent.call('finishUpload', { uploadId, generation: 1, size: null, treeDigest: null });
  await expect(finish()).rejects.toMatchObject({ code: 'incomplete' });
  expect([...(await it.agent.plane.ranges(uploadId)).ranges]).toEqual([
    { offset: 0, length: 1 * MiB },
    { offset: 3 * MiB, length: 1 * MiB },
  ]);
  await put(1 * MiB, 2 * MiB);
  await finish();
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a chunk that a kill caught between its bytes and its record is no less of a guess', async () => {
  await using it = await stage();
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [512 * KiB, 1 * MiB, 1 * MiB, 1536 * KiB]);
  await prepareAll(wire, new Map([1, 2].map((index) => [index, pieces[index] ?? Buffer.alloc(0)])));
  for (const index of [1, 2]) await send(wire, index, pieces[index] ?? Buffer.alloc(0));
  await it.restart(async (folder) => {
    const [name = ''] = await readdir(join(folder, 'chunks'));
    const lines = (await readFile(join(folder, 'chunks', name), 'utf8')).trimEnd().split('\n');
    const last = lines.findLastIndex((line) => line.includes('"placed"') && !line.includes('"landing"'));
    await writeFile(join(folder, 'chunks', name), `${lines.toSpliced(last, 1).join('\n')}\n`);
  });
  const rest = { offset: 0, length: 1 * MiB, total: null };
  await it.agent.plane.receive(uploadId, rest, sourceOf(bytes.subarray(0, 1 * MiB)), never);
  const end = { offset: 3 * MiB, length: 1 * MiB, total: null };
  await it.agent.plane.receive(uploadId, end, sourceOf(bytes.subarray(3 * MiB)), never);
  // A digest says that it is wrong: then it is taken out as well.
  const finish = { uploadId, generation: 1, size: null, treeDigest: '0'.repeat(64) };
  await expect(it.agent.call('finishUpload', finish)).rejects.toMatchObject({ code: 'incomplete' });
  const again = await it.wire(uploadId);
  for (const [index, piece] of pieces.entries()) await send(again, index, piece);
  await again.coalesceChunk({ size: bytes.length, count: 4 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('whoever finishes when, and whoever sent which part: what is sealed are the bytes of the source', async () => {
  const step = fc.record({
    index: fc.nat({ max: 7 }),
    at: fc.nat({ max: 99 }),
    how: fc.constantFrom(
      'chunk',
      'chunk',
      'chunk',
      'chunk',
      'first',
      'prepare',
      'put',
      'gap',
      'finish',
      'coalesce',
      'restart',
    ),
  });
  // All but the first and the last look like an even cut.
  const odd = fc.constantFrom(32 * KiB, 64 * KiB, 96 * KiB);
  const between = fc.array(fc.constant(64 * KiB), { minLength: 1, maxLength: 6 });
  const plan = fc.record({
    sizes: fc.tuple(odd, between, odd).map((all) => all.flat()),
    alike: fc.boolean(),
    withFirst: fc.boolean(),
    steps: fc.array(step, { minLength: 4, maxLength: 30 }),
  });
  await fc.assert(
    fc.asyncProperty(plan, async ({ sizes, alike, withFirst, steps }) => {
      await using it = await stage();
      const length = sizes.reduce((sum, one) => sum + one, 0);
      const bytes = alike ? Buffer.concat(sizes.map((one, i) => Buffer.alloc(one, i % 2))) : randomBytes(length);
      const pieces = cut(bytes, sizes);
      const { uploadId, key } = await it.open(length);
      const put = (offset: number, end: number) =>
        it.agent.plane.receive(
          uploadId,
          { offset, length: end - offset, total: null },
          sourceOf(bytes.subarray(offset, end)),
          never,
        );
      const gaps = async () => {
        const { ranges } = await it.agent.plane.ranges(uploadId);
        const ends = [...ranges, { offset: length, length: 0 }];
        return ends.map(({ offset }, i) => {
          const before = ends[i - 1];
          return { from: before === undefined ? 0 : before.offset + before.length, to: offset };
        });
      };
      const running: Promise<unknown>[] = [];
      await (await it.wire(uploadId)).start(length);
      const run = async (wire: UploadServerWire, { index, at, how }: (typeof steps)[number]) => {
        if (how === 'first' && !withFirst) return;
        const which = how === 'first' ? 0 : 1 + (index % (pieces.length - 1));
        const piece = pieces[which] ?? Buffer.alloc(0);
        const name = { index: which, size: piece.length, checksum: checksumOf(piece) };
        if (how === 'chunk' || how === 'first') await send(wire, which, piece);
        if (how === 'prepare') await wire.prepareChunk(name);
        if (how === 'put') await put(Math.floor((length * at) / 110), Math.floor((length * (at + 10)) / 110));
        if (how === 'gap') for (const { from, to } of await gaps()) if (from < to) await put(from, to);
        if (how === 'coalesce') await wire.coalesceChunk({ size: length, count: pieces.length });
        if (how === 'finish')
          await it.agent.call('finishUpload', { uploadId, generation: 1, size: null, treeDigest: null });
      };
      for (const one of steps) {
        if (one.how === 'restart') {
          await Promise.all(running.splice(0));
          await it.restart();
        } else running.push(run(await it.wire(uploadId), one).catch(refused));
      }
      await Promise.all(running);
      for (let turn = 0; (await it.store.stat(key)).kind !== 'sealed' && turn < 5; turn++) {
        for (const how of ['gap', 'finish'] as const) {
          await run(await it.wire(uploadId), { index: 0, at: 0, how }).catch(refused);
        }
      }
      expect((await it.content(key)).equals(bytes)).toBe(true);
    }),
    { numRuns: Number(process.env.CHUNK_RUNS ?? 40) },
  );
});

test('zeros and a body of unknown length were refused there as well', async () => {
  await using it = await stage();
  const [zeros, rest] = [Buffer.alloc(2 * MiB), randomBytes(2 * MiB)];
  const { uploadId, key } = await it.open(4 * MiB);
  const wire = await it.wire(uploadId);
  const extras = new Map([1, 2, 3].map((index) => [index, randomBytes(1 * MiB)]));
  await prepareAll(wire, extras);
  for (const [index, extra] of extras) await send(wire, index, extra);
  expect((await it.agent.plane.ranges(uploadId)).receivedBytes).toBe(3 * MiB);
  await it.agent.plane.zeros(uploadId, [{ offset: 0, length: 2 * MiB }]);
  await it.agent.plane.receive(uploadId, { offset: 2 * MiB, length: null, total: null }, sourceOf(rest), never);
  await it.agent.call('finishUpload', { uploadId, generation: 1, size: null, treeDigest: null });
  expect((await it.content(key)).equals(Buffer.concat([zeros, rest]))).toBe(true);
});

test('chunks that wait take no space that is promised, and one that finds none does not end the upload', async () => {
  await using it = await stage(6 * MiB);
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [800 * KiB, 1300 * KiB, 900 * KiB, 1 * MiB, 72 * KiB]);
  const piece = (index: number) => pieces[index] ?? Buffer.alloc(0);
  await send(wire, 3, piece(3));
  await expect(send(wire, 1, piece(1))).rejects.toMatchObject({ code: 'store-full' });
  await expect(send(wire, 1, piece(1))).rejects.toThrow('lowest indexes first');
  await send(wire, 4, piece(4));
  for (const index of [0, 1, 2]) expect(await send(wire, index, piece(index))).toBe(false);
  for (const index of [3, 4]) expect(await send(wire, index, piece(index))).toBe(true);
  await wire.coalesceChunk({ size: bytes.length, count: pieces.length });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('a chunk that has to move and finds no room is asked for again', async () => {
  await using it = await stage(4608 * KiB);
  const bytes = randomBytes(4 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  const wire = await it.wire(uploadId);
  const pieces = cut(bytes, [512 * KiB, 1 * MiB, 1 * MiB, 1536 * KiB]);
  const piece = (index: number) => pieces[index] ?? Buffer.alloc(0);
  await prepareAll(wire, new Map([1, 2].map((index) => [index, piece(index)])));
  for (const index of [1, 2]) await send(wire, index, piece(index));
  await send(wire, 0, piece(0));
  for (const index of [1, 2]) expect(await send(wire, index, piece(index))).toBe(false);
  await send(wire, 3, piece(3));
  await wire.coalesceChunk({ size: bytes.length, count: 4 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('the size can be set anew until there is data', async () => {
  await using it = await stage();
  const { uploadId } = await it.open(null);
  const wire = await it.wire(uploadId);
  await wire.start(7 * MiB);
  await wire.start(2 * MiB + 1);
  await send(wire, 0, randomBytes(1 * MiB));
  await wire.start(2 * MiB + 1);
  await expect(wire.start(3 * MiB)).rejects.toMatchObject({ code: 'size-mismatch' });
  expect((await it.agent.plane.ranges(uploadId)).receivedBytes).toBe(1 * MiB);
});

test('a port belongs to its upload, also over a restart, and is given back', async () => {
  await using it = await stage();
  const uploads = [await it.open(1), await it.open(1), await it.open(1)];
  const launch = (uploadId: string) => it.agent.call('launchUploadServer', { uploadId, generation: 1 });
  const ports = [];
  for (const { uploadId } of uploads) ports.push((await launch(uploadId)).port);
  expect(ports).toEqual([7900, 7901, 7902]);
  const late = await it.open(1);
  await expect(launch(late.uploadId)).rejects.toMatchObject({ code: 'unavailable' });
  await it.restart();
  expect([...it.listening.keys()].sort()).toEqual(ports);
  await it.agent.call('discardUpload', { uploadId: uploads[1]?.uploadId ?? '', generation: 1 });
  expect(await launch(late.uploadId)).toEqual({ address: '192.0.2.1', port: 7901 });
  expect((await launch(uploads[2]?.uploadId ?? '')).port).toBe(7902);
});

test('nothing of the chunks stays when the upload ends', async () => {
  await using it = await stage();
  const kept = await it.open(4 * MiB);
  const gone = await it.open(4 * MiB);
  for (const { uploadId } of [kept, gone]) {
    // Index 3 waits beside the upload: nobody can say where it belongs.
    await send(await it.wire(uploadId), 3, randomBytes(1 * MiB));
  }
  expect((await it.store.stat(`${gone.key}.aside`)).kind).toBe('writing');
  await it.agent.call('discardUpload', { uploadId: gone.uploadId, generation: 1 });
  expect((await it.store.stat(`${gone.key}.aside`)).kind).toBe('absent');
  expect(await readdir(join(it.folder, 'chunks'))).toEqual([`${kept.uploadId}.chunks`]);
});

test('a torn line ends the log, and what it would have said is asked for again', async () => {
  await using it = await stage();
  const bytes = randomBytes(2 * MiB);
  const { uploadId, key } = await it.open(bytes.length);
  for (const [index, piece] of cut(bytes, [1 * MiB]).entries()) await send(await it.wire(uploadId), index, piece);
  await it.agent.close();
  await writeFile(join(it.folder, 'chunks', `${uploadId}.chunks`), 'deadbeef {"kind":"pre', { flag: 'a' });
  it.listening.clear();
  await it.restart();
  const wire = await it.wire(uploadId);
  for (const [index, piece] of cut(bytes, [1 * MiB]).entries()) expect(await send(wire, index, piece)).toBe(true);
  await wire.coalesceChunk({ size: bytes.length, count: 2 });
  expect((await it.content(key)).equals(bytes)).toBe(true);
});

test('whatever is cut, mixed, repeated, damaged and interrupted: the bytes are those of the source', async () => {
  const step = fc.record({
    index: fc.nat({ max: 11 }),
    how: fc.constantFrom('send', 'send', 'send', 'send', 'bad', 'prepare', 'native', 'restart', 'extra'),
  });
  const plan = fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 260 * KiB }), { minLength: 1, maxLength: 6 }),
    even: fc.boolean(),
    length: fc.integer({ min: 1, max: 2 * MiB }),
    declared: fc.boolean(),
    steps: fc.array(step, { maxLength: 24 }),
  });
  await fc.assert(
    fc.asyncProperty(plan, async ({ sizes, even, length, declared, steps }) => {
      await using it = await stage();
      const bytes = randomBytes(length);
      const pieces = cut(
        bytes,
        even ? [Math.max(sizes[0] ?? 1, Math.ceil(length / 12))] : sizes.map((size) => size + Math.ceil(length / 12)),
      );
      const { uploadId, key } = await it.open(declared ? length : null);
      if (!declared) await (await it.wire(uploadId)).start(length);
      const running: Promise<unknown>[] = [];
      for (const { index, how } of steps) {
        const piece = pieces[index % pieces.length] ?? Buffer.alloc(0);
        const at = index % pieces.length;
        const wire = await it.wire(uploadId);
        if (how === 'send') running.push(send(wire, at, piece).catch(() => {}));
        if (how === 'prepare') await wire.prepareChunk({ index: at, size: piece.length, checksum: checksumOf(piece) });
        if (how === 'extra') await send(wire, pieces.length + index, randomBytes(1000 + index));
        if (how === 'native') {
          const request = { offset: piece.byteOffset - bytes.byteOffset, length: piece.length, total: null };
          await it.agent.plane.receive(uploadId, request, sourceOf(piece), never);
        }
        if (how === 'bad') {
          const name = { index: at, checksum: checksumOf(piece) };
          await wire.prepareChunk({ ...name, size: piece.length });
          await wire.uploadChunk(name, sourceOf(randomBytes(piece.length)), never).catch(() => {});
        }
        if (how === 'restart') {
          await Promise.all(running.splice(0));
          await it.restart();
        }
      }
      await Promise.all(running);
      const wire = await it.wire(uploadId);
      for (const [index, piece] of pieces.entries()) await send(wire, index, piece);
      await wire.coalesceChunk({ size: length, count: pieces.length });
      expect((await it.content(key)).equals(bytes)).toBe(true);
    }),
    { numRuns: Number(process.env.CHUNK_RUNS ?? 20) },
  );
});
