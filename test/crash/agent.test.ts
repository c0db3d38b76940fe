import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AgentRequest } from '../../src/contract/link.ts';
import { type Range, RangeSet } from '../../src/core/range.ts';
import { HashPool } from '../../src/engine/hash-pool.ts';
import { SlabPool } from '../../src/engine/slab-pool.ts';
import type { JournalRecord } from '../../src/engine/upload-journal.ts';
import { bootDigest } from '../../src/host/journal-file.ts';
import { bodyOf, type Death, Died, type MortalAgent, startMortalAgent, storeId } from './mortal-agent.ts';
import { seeded } from './plan.ts';

const MiB = 1024 * 1024;
const hashes = new HashPool(2);
const means = { slabs: new SlabPool(24), hashes };
const never = new AbortController().signal;
const content = contentOf(5 * MiB + 777);
const treeDigest = treeOf(content);
/** Block 3 is zeros. */
const zeros = { offset: 3 * MiB, length: MiB };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-agent-'));
});
afterAll(async () => {
  await hashes[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('killed at each thing it does to the disk during an upload: nothing acknowledged is lost, and it ends right', async () => {
  const calm = await upload(join(folder, 'calm'), undefined);
  expect(calm.deeds.length).toBeGreaterThan(25);
  for (const deed of [
    'store.seal',
    'state.save finishing with facts',
    'state.save sealed with facts',
    'state.remove',
  ]) {
    expect(calm.deeds).toContain(deed);
  }
  for (let at = 0; at < calm.deeds.length; at++) {
    for (const when of ['before', 'half', 'after'] as const) {
      const place = join(folder, `${at}-${when}`);
      const what = `killed ${when} ${calm.deeds[at]} (${at})`;
      const before = await upload(place, { at, when });
      await expectKept(place, before, what);
      await goOn(place, before, what);
      await rm(place, { recursive: true });
    }
  }
});

test('killed again while it takes up what the first kill left', async () => {
  const random = seeded(7);
  const { length } = (await upload(join(folder, 'calm-2'), undefined)).deeds;
  for (let round = 0; round < 60; round++) {
    const place = join(folder, `twice-${round}`);
    const whens = ['before', 'half', 'after'] as const;
    const first = { at: Math.floor(random() * length), when: whens[round % 3] ?? 'after' };
    const second = { at: Math.floor(random() * 6), when: whens[Math.floor(random() * 3)] ?? 'after' };
    const what = `killed ${JSON.stringify(first)}, then ${JSON.stringify(second)}`;
    const before = await upload(place, first);
    const between = await upload(place, second, before);
    await expectKept(place, between, what);
    await goOn(place, between, what);
    await rm(place, { recursive: true });
  }
});

test('killed at each step of a cancel: cancelled again, nothing is left', async () => {
  for (let at = 0; at < 5; at++) {
    const place = join(folder, `cancel-${at}`);
    const begun = await upload(place, { at: 12, when: 'after' });
    const dying = await startMortalAgent(place, means, { death: { at, when: 'after' } });
    await orDied(() => dying.agent.call('discardUpload', ref(begun.uploadId)));
    await dying.die();
    const next = await startMortalAgent(place, means);
    await next.agent.call('discardUpload', ref(begun.uploadId));
    await expectNothingLeft(place, `cancel killed at ${at}`);
    await next.die();
  }
});

test('killed between the recorded facts and the rename: the upload is open again and can be finished', async () => {
  const place = join(folder, 'facts');
  const { deeds } = await upload(join(folder, 'facts-calm'), undefined);
  const begun = await upload(place, { at: deeds.indexOf('store.seal'), when: 'before' });
  const next = await startMortalAgent(place, means);
  expect(await next.agent.call('describeUpload', ref(begun.uploadId))).toMatchObject({ state: 'open', sealed: null });
  const sealed = await finish(next, begun.uploadId);
  expect(sealed).toMatchObject({ state: 'sealed', sealed: { treeDigest, size: content.length } });
  await next.die();
});

test('killed right after the rename: the upload is sealed when the agent is back, with the facts of before', async () => {
  const place = join(folder, 'renamed');
  const { deeds } = await upload(join(folder, 'renamed-calm'), undefined);
  const begun = await upload(place, { at: deeds.indexOf('store.seal'), when: 'after' });
  const next = await startMortalAgent(place, means);
  const report = await next.agent.call('describeUpload', ref(begun.uploadId));
  expect(report).toMatchObject({ state: 'sealed', sealed: { treeDigest, size: content.length } });
  expect(report.sealed?.storedSize).toBeGreaterThan(0);
  await next.die();
});

test('after a reboot what was not synced is compared: a damaged block is asked for again, the others stay', async () => {
  const place = join(folder, 'reboot');
  const uploadId = await unsynced(place);
  await damage(place, uploadId, MiB + 5);
  const same = await startMortalAgent(place, means);
  expect((await same.agent.plane.ranges(uploadId)).ranges).toEqual([{ offset: 0, length: 3 * MiB }]);
  await same.die();
  const next = await startMortalAgent(place, means, { boot: bootDigest('the next boot') });
  expect((await next.agent.plane.ranges(uploadId)).ranges).toEqual([
    { offset: 0, length: MiB },
    { offset: 2 * MiB, length: MiB },
  ]);
  await next.die();
  const begun = { ...nothingYet(), uploadId };
  await goOn(place, begun, 'after the reboot');
});

test('after a reboot a discard is not undone: bytes sent anew over what were zeros stay', async () => {
  const place = join(folder, 'anew');
  const agent = await startMortalAgent(place, means, { journaled: dropSyncs() });
  const uploadId = randomUUID();
  await agent.agent.call('openUpload', openRequest(uploadId));
  const block = { offset: MiB, length: MiB };
  await agent.agent.plane.zeros(uploadId, [block]);
  await agent.agent.plane.discard(uploadId, [block]);
  await receive(agent, uploadId, block);
  await agent.die();
  const next = await startMortalAgent(place, means, { boot: bootDigest('the next boot') });
  expect((await next.agent.plane.ranges(uploadId)).ranges).toEqual([block]);
  await next.die();
});

test('what is left of a block that was discarded in part is not trusted after a reboot', async () => {
  const place = join(folder, 'part');
  const agent = await startMortalAgent(place, means, { journaled: dropSyncs() });
  const uploadId = randomUUID();
  await agent.agent.call('openUpload', openRequest(uploadId));
  await receive(agent, uploadId, { offset: 0, length: 2 * MiB });
  await agent.agent.plane.discard(uploadId, [{ offset: 0, length: 1000 }]);
  await agent.die();
  await damage(place, uploadId, 5000);
  const next = await startMortalAgent(place, means, { boot: bootDigest('the next boot') });
  expect((await next.agent.plane.ranges(uploadId)).ranges).toEqual([{ offset: MiB, length: MiB }]);
  await next.die();
});

test('an object that is gone has no ranges: what had been received of it is asked for again', async () => {
  const place = join(folder, 'gone');
  const begun = await upload(place, { at: 12, when: 'after' });
  expect(begun.acknowledged.bytes).toBeGreaterThan(0);
  await rm(join(place, 'store/incoming', begun.uploadId));
  const next = await startMortalAgent(place, means);
  expect((await next.agent.plane.ranges(begun.uploadId)).ranges).toEqual([]);
  await next.die();
  await goOn(place, { ...nothingYet(), uploadId: begun.uploadId }, 'after its object was gone');
});

test('an object that was sealed and removed leaves nothing when its upload is forgotten', async () => {
  const place = join(folder, 'removed');
  const { deeds } = await upload(join(folder, 'removed-calm'), undefined);
  const begun = await upload(place, { at: deeds.indexOf('state.save sealed with facts'), when: 'after' });
  await rm(join(place, 'store/objects', begun.uploadId));
  const next = await startMortalAgent(place, means);
  await next.agent.call('forgetUpload', ref(begun.uploadId));
  await expectNothingLeft(place, 'sealed, removed, forgotten');
  await next.die();
});

interface Begun {
  readonly uploadId: string;
  readonly acknowledged: RangeSet;
  /** Its finish was answered. */
  sealed: boolean;
  /** Its journal was asked to go, whether that was answered or not. */
  forgetting: boolean;
  readonly deeds: readonly string[];
}

function nothingYet(): Begun {
  return { uploadId: randomUUID(), acknowledged: new RangeSet(), sealed: false, forgetting: false, deeds: [] };
}

/** All of an upload, in odd pieces, until it is done or dead. Every answer that came is noted. */
async function upload(place: string, death: Death | undefined, before: Begun = nothingYet()): Promise<Begun> {
  const { uploadId, acknowledged } = before;
  const begun: Begun = { ...before };
  const starting = await orDied(() => startMortalAgent(place, means, { death }));
  if (starting === 'died') return begun;
  const mortal = starting;
  const { plane } = mortal.agent;
  const put = async (range: Range, more: { digest?: boolean } = {}) => {
    await receive(mortal, uploadId, range, more);
    acknowledged.add(range);
  };
  await orDied(async () => {
    if (begun.forgetting) return;
    await mortal.agent.call('openUpload', openRequest(uploadId));
    if (!begun.sealed && (await mortal.agent.call('describeUpload', ref(uploadId))).state === 'open') {
      await Promise.all([put({ offset: 0, length: MiB + 100 }), put({ offset: 4 * MiB, length: MiB + 777 })]);
      await plane.zeros(uploadId, [zeros]);
      acknowledged.add(zeros);
      // A body that breaks off: what arrived may count, nothing of it was said.
      await receiveBroken(mortal, uploadId, { offset: MiB + 100, length: 700_000 });
      await put({ offset: MiB + 100, length: MiB - 100 }, { digest: true });
      await put({ offset: 2 * MiB, length: MiB });
    }
    await finish(mortal, uploadId);
    begun.sealed = true;
    begun.forgetting = true;
    await mortal.agent.call('forgetUpload', ref(uploadId));
  });
  await mortal.die();
  return { ...begun, deeds: mortal.deeds };
}

/** A fresh agent on the same folder has everything that was acknowledged. */
async function expectKept(place: string, begun: Begun, what: string): Promise<void> {
  if (begun.forgetting) return;
  const { agent, die } = await startMortalAgent(place, means);
  if (begun.acknowledged.bytes > 0) {
    const { sealed } = await agent.call('describeUpload', ref(begun.uploadId));
    const now = RangeSet.of((await agent.plane.ranges(begun.uploadId)).ranges);
    const lost = [...begun.acknowledged].flatMap((range) => [...now.missing(range)]);
    expect(lost, what).toEqual([]);
    if (begun.sealed) expect(sealed, what).not.toBeNull();
  }
  await die();
}

/** Sends what is missing, finishes, forgets: the bytes are right and nothing is left behind. */
async function goOn(place: string, begun: Begun, what: string): Promise<void> {
  const next = await startMortalAgent(place, means);
  const { uploadId } = begun;
  const known = (await readdir(join(place, 'store/objects'))).length > 0 && begun.forgetting;
  if (!known) {
    await next.agent.call('openUpload', openRequest(uploadId));
    const received = RangeSet.of((await next.agent.plane.ranges(uploadId)).ranges);
    for (const range of [...received.missing({ offset: 0, length: content.length })])
      await receive(next, uploadId, range);
    expect(await finish(next, uploadId), what).toMatchObject({ state: 'sealed', sealed: { treeDigest } });
  }
  await next.agent.call('forgetUpload', ref(uploadId));
  await next.die();
  expect(await readdir(join(place, 'store/incoming')), what).toEqual([]);
  expect(await readdir(join(place, 'agent/uploads')), what).toEqual([]);
  expect(content.equals(await readFile(join(place, 'store/objects', uploadId))), what).toBe(true);
  const leaves = await readFile(join(place, 'agent/leaves', storeId, uploadId));
  expect(createHash('sha256').update(leaves).digest('hex'), what).toBe(treeDigest);
}

async function expectNothingLeft(place: string, what: string): Promise<void> {
  const left = ['store/incoming', 'store/objects', 'agent/uploads'].map((path) => readdir(join(place, path)));
  expect((await Promise.all(left)).flat(), what).toEqual([]);
}

/** Three blocks received, of which the journal says nowhere that they were synced. */
async function unsynced(place: string): Promise<string> {
  const agent = await startMortalAgent(place, means, { journaled: dropSyncs() });
  const uploadId = randomUUID();
  await agent.agent.call('openUpload', openRequest(uploadId));
  await receive(agent, uploadId, { offset: 0, length: 3 * MiB });
  await agent.die();
  return uploadId;
}

/** Lets the first through, which says which boot it was. */
function dropSyncs(): (records: readonly JournalRecord[]) => readonly JournalRecord[] {
  let seen = false;
  return (records) =>
    records.filter(({ kind }) => {
      const drop = kind === 'sync' && seen;
      seen ||= kind === 'sync';
      return !drop;
    });
}

async function damage(place: string, uploadId: string, at: number): Promise<void> {
  await using file = await open(join(place, 'store/incoming', uploadId), 'r+');
  await file.write(Buffer.from([(content[at] ?? 0) ^ 0xff]), 0, 1, at);
}

async function receive(mortal: MortalAgent, uploadId: string, range: Range, { digest = false } = {}): Promise<void> {
  const bytes = content.subarray(range.offset, range.offset + range.length);
  const sha256 = { algorithm: 'sha256', bytes: createHash('sha256').update(bytes).digest() } as const;
  const request = { ...range, total: content.length, ...(digest ? { digest: sha256 } : {}) };
  await mortal.agent.plane.receive(uploadId, request, bodyOf(bytes), never);
}

async function receiveBroken(mortal: MortalAgent, uploadId: string, range: Range): Promise<void> {
  const bytes = content.subarray(range.offset, range.offset + range.length);
  const request = { ...range, total: content.length };
  const ended = await mortal.agent.plane
    .receive(uploadId, request, bodyOf(bytes, bytes.length - 50_000), never)
    .catch((error: unknown) => error);
  if (!(ended instanceof Error)) throw new Error('a broken body was taken for a whole one');
  if (mortal.isDead) throw new Died('in a broken body');
}

function finish(mortal: MortalAgent, uploadId: string) {
  return mortal.agent.call('finishUpload', { ...ref(uploadId), size: content.length, treeDigest });
}

function openRequest(uploadId: string): AgentRequest<'openUpload'> {
  return {
    uploadId,
    generation: 1,
    storeId,
    key: uploadId,
    declaredSize: content.length,
    reserve: content.length,
    format: 'raw',
    rateLimit: { task: null, user: null, userId: 'somebody' },
    digests: [],
  };
}

function ref(uploadId: string) {
  return { uploadId, generation: 1 };
}

/** Errors of a dead agent are expected, in whatever they were wrapped; those of a live one are not. */
async function orDied<T>(act: () => Promise<T>): Promise<T | 'died'> {
  try {
    return await act();
  } catch (error) {
    for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof Died) return 'died';
    throw error;
  }
}

/** Bytes that are never all zero in a block, but for block 3. */
function contentOf(size: number): Buffer {
  const random = seeded(99);
  const bytes = Buffer.from(Uint8Array.from({ length: size }, () => Math.floor(random() * 256)));
  bytes.fill(0, 3 * MiB, 4 * MiB);
  return bytes;
}

function treeOf(bytes: Buffer): string {
  const tree = createHash('sha256');
  for (let at = 0; at < bytes.length; at += MiB) {
    tree.update(
      createHash('sha256')
        .update(bytes.subarray(at, at + MiB))
        .digest(),
    );
  }
  return tree.digest('hex');
}
