import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isHawserError } from '../../core/errors.ts';
import { HashPool } from '../../engine/hash-pool.ts';
import { SlabPool } from '../../engine/slab-pool.ts';
import { sourceOf, treeOf } from '../../engine/testing/rig.ts';
import { openStateFolder } from '../../host/state-folder.ts';
import { openMemoryStore } from '../../stores/memory/store.ts';
import { HostAgent } from './host-agent.ts';
import type { StateFolder, UploadRecord } from './ports.ts';

const MiB = 1024 * 1024;
const never = new AbortController().signal;
const storeId = randomUUID();

interface Stage extends AsyncDisposable {
  readonly folder: string;
  agent: HostAgent;
  /** Awaited before each save of a record. */
  beforeSave: (record: UploadRecord) => Promise<void>;
  readonly saved: UploadRecord[];
  open(
    declaredSize: number | null,
    maxSize?: number,
  ): Promise<{ readonly uploadId: string; readonly generation: number }>;
  put(uploadId: string, offset: number, bytes: Uint8Array): Promise<unknown>;
  restart(): Promise<void>;
}

/** A real agent over a real state folder and a Store in memory. */
async function stage(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-host-upload-'));
  const hashes = new HashPool(2);
  const store = openMemoryStore({ name: 'test', capacity: 64 * MiB });
  const real = await openStateFolder(folder);
  const state: StateFolder = {
    ...real,
    save: async (record) => {
      await made.beforeSave(record);
      made.saved.push(record);
      await real.save(record);
    },
  };
  const start = () =>
    HostAgent.start({
      hostId: randomUUID(),
      name: 'test',
      bootId: 'boot',
      version: '0',
      dataUrls: () => [],
      stores: [{ storeId, name: 'test', store }],
      state,
      means: { slabs: new SlabPool(8), hashes },
      totalRate: null,
      now: () => new Date(),
      monotonic: () => performance.now(),
      log: { info: () => {}, warn: () => {} },
    });
  const made: Stage = {
    folder,
    agent: await start(),
    beforeSave: async () => {},
    saved: [],
    async open(declaredSize, maxSize) {
      const ref = { uploadId: randomUUID(), generation: 1 };
      const rateLimit = { task: null, user: null, userId: 'u' };
      const rest = { storeId, key: randomUUID(), reserve: 0, format: 'auto' as const, rateLimit, digests: [] };
      await made.agent.call('openUpload', { ...ref, ...rest, declaredSize, maxSize: maxSize ?? null });
      return ref;
    },
    put: (uploadId, offset, bytes) =>
      made.agent.plane.receive(uploadId, { offset, length: bytes.length, total: null }, sourceOf(bytes), never),
    async restart() {
      await made.agent.close();
      made.agent = await start();
    },
    async [Symbol.asyncDispose]() {
      await made.agent.close();
      await hashes[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return made;
}

test('a discard while it is being finished is refused: no image gets a digest with holes', async () => {
  await using it = await stage();
  const bytes = randomBytes(2 * MiB);
  const ref = await it.open(bytes.length);
  await it.put(ref.uploadId, 0, bytes);
  const [saving, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  it.beforeSave = async ({ state, sealed }) => {
    if (state !== 'finishing' || sealed !== null) return;
    saving.resolve();
    await go.promise;
  };
  const finish = it.agent.call('finishUpload', { ...ref, size: null, treeDigest: null });
  await saving.promise;
  const discard = it.agent.plane.discard(ref.uploadId, [{ offset: 0, length: MiB }]);
  await expect(discard).rejects.toSatisfy((error) => isHawserError(error, 'conflict'));
  await expect(it.put(ref.uploadId, 0, bytes.subarray(0, MiB))).rejects.toSatisfy((error) => isHawserError(error));
  go.resolve();
  expect((await finish).sealed?.treeDigest).toBe(treeOf(bytes));
});

test('two changes of its record at once are saved one after the other, and a pause never undoes a finish', async () => {
  await using it = await stage();
  const bytes = randomBytes(MiB);
  const ref = await it.open(bytes.length);
  await it.put(ref.uploadId, 0, bytes);
  let saving = 0;
  it.beforeSave = async () => {
    expect(++saving).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    saving--;
  };
  const [paused, finished] = await Promise.allSettled([
    it.agent.call('pauseUpload', ref),
    it.agent.call('finishUpload', { ...ref, size: null, treeDigest: null }),
  ]);
  expect(paused.status).toBe('fulfilled');
  const { state } = await it.agent.call('describeUpload', ref);
  expect(state).toBe(finished.status === 'fulfilled' ? 'sealed' : 'paused');
  await Promise.all([0, 1, 2].map(() => it.agent.call('resumeUpload', ref)));
  await it.restart();
  expect((await it.agent.call('describeUpload', ref)).receivedBytes).toBe(bytes.length);
});

test('who finishes at the same time with another digest is told so', async () => {
  await using it = await stage();
  const bytes = randomBytes(MiB);
  const ref = await it.open(bytes.length);
  await it.put(ref.uploadId, 0, bytes);
  const right = it.agent.call('finishUpload', { ...ref, size: null, treeDigest: treeOf(bytes) });
  const wrong = it.agent.call('finishUpload', { ...ref, size: null, treeDigest: '0'.repeat(64) });
  await expect(wrong).rejects.toSatisfy((error) => isHawserError(error, 'digest-mismatch'));
  expect((await right).state).toBe('sealed');
});

test('a discard or zeros beyond every size are refused, also where no size was declared', async () => {
  await using it = await stage();
  const { uploadId } = await it.open(null);
  const far = { offset: Number.MAX_SAFE_INTEGER, length: Number.MAX_SAFE_INTEGER };
  for (const refused of [it.agent.plane.discard(uploadId, [far]), it.agent.plane.zeros(uploadId, [far])]) {
    await expect(refused).rejects.toSatisfy((error) => isHawserError(error, 'out-of-range'));
  }
});

test('a size that was not declared does not grow beyond the limit', async () => {
  await using it = await stage();
  const { uploadId } = await it.open(null, MiB);
  await it.put(uploadId, 0, randomBytes(MiB));
  const { plane } = it.agent;
  const isTooLarge = (error: unknown) => isHawserError(error, 'too-large');
  await expect(it.put(uploadId, MiB, randomBytes(1))).rejects.toSatisfy(isTooLarge);
  await expect(plane.zeros(uploadId, [{ offset: MiB, length: 1 }])).rejects.toSatisfy(isTooLarge);
  const endless = plane.receive(
    uploadId,
    { offset: 0, length: null, total: null },
    sourceOf(randomBytes(2 * MiB)),
    never,
  );
  await expect(endless).rejects.toSatisfy((error) => isHawserError(error));
});

test('who sends while Hawser stops is told to come back, not that it failed', async () => {
  await using it = await stage();
  const { uploadId } = await it.open(2 * MiB);
  await it.agent.close();
  await expect(it.put(uploadId, 0, randomBytes(MiB))).rejects.toSatisfy((error) => isHawserError(error, 'unavailable'));
});

test('a sealed object that is gone after a restart is not reported as sealed', async () => {
  await using it = await stage();
  const bytes = randomBytes(MiB);
  const ref = await it.open(bytes.length);
  await it.put(ref.uploadId, 0, bytes);
  await it.agent.call('finishUpload', { ...ref, size: null, treeDigest: null });
  const key = it.saved.at(-1)?.key ?? '';
  await it.agent.call('removeCopy', { storeId, key });
  await it.restart();
  const gone = Promise.withResolvers<unknown>();
  const stop = new AbortController();
  await it.agent.subscribe((event) => event.kind === 'full' && gone.resolve(event.uploads), stop.signal);
  stop.abort();
  expect(await gone.promise).toMatchObject([
    { uploadId: ref.uploadId, sealed: null, problem: { code: 'store-failed' } },
  ]);
});
