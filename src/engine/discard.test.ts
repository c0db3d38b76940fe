import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TREE_BLOCK } from '../core/digest.ts';
import { bootDigest, JournalFile } from '../host/journal-file.ts';
import { openMemoryStore } from '../stores/memory/store.ts';
import { HashPool } from './hash-pool.ts';
import { Incoming } from './incoming.ts';
import { receiveBody } from './receive.ts';
import { Received } from './received.ts';
import { SlabPool } from './slab-pool.ts';
import { makeRig, sourceOf, treeOf } from './testing/rig.ts';
import { LeafList, zeroLeafOf } from './tree-digest.ts';

const never = new AbortController().signal;
const HALF = TREE_BLOCK / 2;

test('a leaf that was being put together while its block was discarded and sent anew is not of the old bytes', async () => {
  await using rig = await makeRig();
  const { incoming } = rig;
  const put = (bytes: Buffer, offset: number) =>
    receiveBody(rig, { offset, length: bytes.length, end: null }, sourceOf(bytes), never);
  const [old, fresh, tail] = [randomBytes(HALF), randomBytes(HALF), randomBytes(HALF)];
  const gate = Promise.withResolvers<void>();
  const looked = Promise.withResolvers<void>();
  const read = incoming.writer.read.bind(incoming.writer);
  incoming.writer.read = async (into, offset) => {
    await read(into, offset);
    looked.resolve();
    await gate.promise;
  };
  await put(old, 0);
  await put(tail, HALF);
  await looked.promise;
  await incoming.discard([{ offset: 0, length: HALF }]);
  await put(fresh, 0);
  gate.resolve();
  expect((await incoming.leaves(TREE_BLOCK)).treeDigest()).toBe(treeOf(Buffer.concat([fresh, tail])));
});

test('what was being received while it was discarded was forgotten now, and back after a restart', async () => {
  await using rig = await makeRig();
  const file = await JournalFile.open(`${rig.journalPath}-2`);
  const [writing, write, syncing, sync] = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  let holding = false;
  const journal = {
    append: (records: Parameters<JournalFile['append']>[0]) => file.append(records),
    records: () => file.records(),
    sync: async () => {
      if (holding) {
        syncing?.resolve();
        await sync?.promise;
      }
      await file.sync();
    },
  };
  const writer = await rig.store.create({ key: 'other' });
  const into = writer.write.bind(writer);
  writer.write = async (bytes, offset) => {
    writing?.resolve();
    await write?.promise;
    await into(bytes, offset);
  };
  const { means } = rig;
  const incoming = await Incoming.open({ writer, journal, means, boot: bootDigest('one') });
  const bytes = randomBytes(HALF);
  holding = true;
  const putting = receiveBody({ incoming, means }, { offset: 0, length: HALF, end: null }, sourceOf(bytes), never);
  await writing?.promise;
  const discarding = incoming.discard([{ offset: 0, length: HALF }]);
  await syncing?.promise;
  write?.resolve();
  await putting;
  sync?.resolve();
  await discarding;
  expect([...(await Received.replay(journal)).all]).toEqual([...incoming.received.all]);
  await incoming.quiet();
  await file[Symbol.asyncDispose]();
});

test('after a power cut, bytes that were sent anew over discarded ones do not stand under the old digest', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-discard-'));
  const hashes = new HashPool(1);
  try {
    const means = { slabs: new SlabPool(4), hashes };
    const path = join(folder, 'journal');
    const store = openMemoryStore({ name: 'test', capacity: 64 * TREE_BLOCK });
    let durable = 0;
    const file = await JournalFile.open(path);
    const journal = {
      append: (records: Parameters<JournalFile['append']>[0]) => file.append(records),
      records: () => file.records(),
      sync: async () => {
        await file.sync();
        durable = (await stat(path)).size;
      },
    };
    const writer = await store.create({ key: 'k' });
    const incoming = await Incoming.open({ writer, journal, means, boot: bootDigest('one') });
    const [old, fresh] = [randomBytes(TREE_BLOCK), randomBytes(TREE_BLOCK)];
    const put = (bytes: Buffer) =>
      receiveBody({ incoming, means }, { offset: 0, length: TREE_BLOCK, end: null }, sourceOf(bytes), never);
    await put(old);
    await incoming.sync();
    await incoming.discard([{ offset: 0, length: TREE_BLOCK }]);
    await put(fresh);
    // The power goes: the disk got all of the data by itself, but of the journal only what was synced.
    await incoming.quiet();
    await writer[Symbol.asyncDispose]();
    await file[Symbol.asyncDispose]();
    await truncate(path, durable);
    const again = await JournalFile.open(path);
    const next = await Incoming.open({
      writer: await store.reopen('k'),
      journal: again,
      means,
      boot: bootDigest('two'),
    });
    expect([...next.received.all]).toEqual([]);
    await next.quiet();
    await again[Symbol.asyncDispose]();
  } finally {
    await hashes[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  }
});

test('a discard of more blocks than there are takes no longer than the leaves that are looked at', () => {
  const leaves = new LeafList(10 * TREE_BLOCK, { first: 2, count: 3 });
  for (let index = 0; index < 10; index++) leaves.set(index, Buffer.alloc(32, 7));
  leaves.forget(3 * TREE_BLOCK, Number.MAX_SAFE_INTEGER);
  expect([2, 3, 4].map((index) => leaves.known(index))).toEqual([true, false, false]);
});

test('zeros set the leaves of whole blocks in them, the short last one too', () => {
  const size = 4 * TREE_BLOCK + 100;
  const leaves = new LeafList(size);
  leaves.setZeros(TREE_BLOCK - 1, size);
  leaves.set(0, zeroLeafOf(TREE_BLOCK));
  expect(leaves.treeDigest()).toBe(treeOf(Buffer.alloc(size)));
  const none = new LeafList(size, { first: 2, count: 1 });
  none.setZeros(0, TREE_BLOCK);
  none.setZeros(2 * TREE_BLOCK + 1, 3 * TREE_BLOCK);
  expect(none.known(2)).toBe(false);
});
