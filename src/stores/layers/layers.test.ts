import { writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type ErrorCode, HawserError } from '../../core/errors.ts';
import { openFileStore } from '../file/store.ts';
import { openMemoryStore } from '../memory/store.ts';
import type { Extent } from '../store.ts';
import { withCount } from './count.ts';
import { type Fault, withFault } from './fault.ts';
import type { OperationName } from './layer.ts';
import { withLimit } from './limit.ts';
import { withRetry } from './retry.ts';

const MiB = 1024 * 1024;
const memory = () => openMemoryStore({ name: 'test', capacity: 16 * MiB });

/** Fails the first `times` operations of that name. */
function failing(name: OperationName, code: ErrorCode, times: number, when: Fault['when'] = 'before') {
  let left = times;
  return withFault(memory(), (operation) => {
    if (operation.name !== name || left === 0) return undefined;
    left--;
    return { when, error: new HawserError(code, 'as scripted') };
  });
}

function retrying(store: ReturnType<typeof memory>, random = () => 1) {
  const sleeps: number[] = [];
  const sleep = async (milliseconds: number, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    sleeps.push(milliseconds);
  };
  return { store: withRetry(store, { attempts: 5, first: 100, longest: 300, sleep, random }), sleeps };
}

test('retry waits longer each time, up to the longest, and then succeeds', async () => {
  const { store, sleeps } = retrying(failing('write', 'unavailable', 4));
  await using writer = await store.create({ key: 'k' });
  await writer.write(new Uint8Array(10), 0);
  expect(sleeps).toEqual([100, 200, 300, 300]);
});

test('retry keeps at least half of each pause', async () => {
  const { store, sleeps } = retrying(failing('stat', 'store-failed', 2), () => 0);
  await store.stat('k');
  expect(sleeps).toEqual([50, 100]);
});

test('retry gives the last error up after its attempts', async () => {
  const { store, sleeps } = retrying(failing('flush', 'store-failed', 5));
  await using writer = await store.create({ key: 'k' });
  await expect(writer.flush()).rejects.toMatchObject({ code: 'store-failed' });
  expect(sleeps.length).toBe(4);
  await writer.flush();
});

test('retry does not repeat what waiting a moment cannot help', async () => {
  for (const code of ['store-full', 'not-found', 'conflict', 'internal', 'bad-request'] as const) {
    const { store, sleeps } = retrying(failing('write', code, 1));
    await using writer = await store.create({ key: 'k' });
    await expect(writer.write(new Uint8Array(1), 0)).rejects.toMatchObject({ code });
    expect(sleeps).toEqual([]);
  }
});

test('retry does not ask again after a flush that lost bytes', async () => {
  const lost = new HawserError('store-failed', 'as scripted', { details: { unsyncedLost: true } });
  const flush = withFault(memory(), ({ name }) => (name === 'flush' ? { when: 'before', error: lost } : undefined));
  const { store, sleeps } = retrying(flush);
  await using writer = await store.create({ key: 'k' });
  await expect(writer.flush()).rejects.toBe(lost);
  expect(sleeps).toEqual([]);
});

test('retry ends when the signal fires during its pause', async () => {
  const { store } = retrying(failing('zero', 'unavailable', 1));
  await using writer = await store.create({ key: 'k' });
  const reason = new HawserError('paused', 'by a person');
  await expect(writer.zero({ offset: 0, length: 5 }, AbortSignal.abort(reason))).rejects.toBe(reason);
});

test('retry goes on in the middle of extents without losing or repeating one', async () => {
  const { store, sleeps } = retrying(failing('extents', 'connection-lost', 3, 'after'));
  {
    await using writer = await store.create({ key: 'k', size: 4 * MiB });
    await writer.write(new Uint8Array(MiB).fill(1), 0);
    await writer.write(new Uint8Array(MiB).fill(1), 2 * MiB);
    await writer.seal(4 * MiB);
  }
  await using reader = await store.open('k');
  const extents: Extent[] = [];
  for await (const extent of reader.extents({ offset: 0, length: 4 * MiB })) extents.push(extent);
  expect(extents.map(({ kind, offset }) => `${kind} ${offset / MiB}`)).toEqual([
    'data 0',
    'hole 1',
    'data 2',
    'hole 3',
  ]);
  expect(sleeps.length).toBe(3);
});

test('limit lets the first pass and keeps the rate over time, whatever the sizes', async () => {
  let clock = 1000;
  const sleep = async (milliseconds: number) => {
    clock += milliseconds;
  };
  const store = withLimit(memory(), { bytesPerSecond: MiB, now: () => clock, sleep });
  await using writer = await store.create({ key: 'k' });
  await writer.write(new Uint8Array(2 * MiB), 0);
  expect(clock).toBe(1000);
  await writer.write(new Uint8Array(MiB / 2), 0);
  expect(clock).toBe(3000);
  await writer.read(new Uint8Array(MiB), 0);
  expect(clock).toBe(3500);
  await writer.zero({ offset: 0, length: 100 * MiB });
  await writer.flush();
  expect(clock).toBe(3500);
  clock += 60_000;
  await writer.write(new Uint8Array(MiB), 0);
  expect(clock).toBe(63_500);
  await writer.write(new Uint8Array(1), 0);
  expect(clock).toBe(64_500);
});

test('count counts calls, failures, and the bytes of what succeeded', async () => {
  const { store, count } = withCount(failing('write', 'unavailable', 1));
  await using writer = await store.create({ key: 'k' });
  await expect(writer.write(new Uint8Array(100), 0)).rejects.toThrow();
  await writer.write(new Uint8Array(70), 0);
  await writer.zero({ offset: 0, length: 5 });
  await writer.read(new Uint8Array(60), 10);
  expect(count('write')).toEqual({ calls: 2, failures: 1, bytes: 70 });
  expect(count('zero')).toEqual({ calls: 1, failures: 0, bytes: 5 });
  expect(count('read')).toEqual({ calls: 1, failures: 0, bytes: 60 });
  expect(count('seal')).toEqual({ calls: 0, failures: 0, bytes: 0 });
});

test('fault does nothing, half or all of a write before it fails', async () => {
  for (const [when, size] of [
    ['before', 0],
    ['half', 50],
    ['after', 100],
  ] as const) {
    const store = failing('write', 'store-full', 1, when);
    await using writer = await store.create({ key: 'k' });
    await expect(writer.write(new Uint8Array(100).fill(7), 0)).rejects.toMatchObject({ code: 'store-full' });
    await writer.read(new Uint8Array(size), 0);
    await expect(writer.read(new Uint8Array(size + 1), 0)).rejects.toMatchObject({ code: 'out-of-range' });
  }
});

test('a seal that was done and not answered is sealed, and may be repeated', async () => {
  const store = failing('seal', 'store-failed', 1, 'after');
  await using writer = await store.create({ key: 'k', size: 10 });
  await expect(writer.seal(10)).rejects.toMatchObject({ code: 'store-failed' });
  expect((await store.stat('k')).kind).toBe('sealed');
  await writer.seal(10);
});

test('a descriptor is lent only through layers that need not stand around every write; count hears of what was written', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-layers-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const bare = await openFileStore({ name: 'test', path: folder });
  const range = { offset: 10, length: 100 };
  const counted = withCount(bare);
  const open = { bare: bare, count: counted.store, retry: retrying(counted.store).store };
  for (const [key, store] of Object.entries(open)) {
    await using writer = await store.create({ key });
    const file = await writer.lend?.(range);
    expect(file).toBeDefined();
    if (file === undefined) return;
    writeSync(file.fd, Buffer.alloc(range.length, key), 0, range.length, range.offset);
    file.wrote(range);
    file.giveBack();
    const into = Buffer.alloc(range.length);
    await writer.read(into, range.offset);
    expect(into).toEqual(Buffer.alloc(range.length, key));
  }
  expect(counted.count('write')).toEqual({ calls: 2, failures: 0, bytes: 200 });
  const limit = withLimit(bare, { bytesPerSecond: MiB, now: () => 0, sleep: async () => {} });
  for (const store of [limit, withFault(bare, () => undefined), memory(), retrying(memory()).store]) {
    await using writer = await store.create({ key: 'closed' });
    expect(await writer.lend?.(range)).toBeUndefined();
    await writer.discard();
  }
});
