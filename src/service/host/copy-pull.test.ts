import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceOf, treeOf } from '../../engine/testing/rig.ts';
import { ownTlsKeys } from '../../host/tls.ts';
import { openPeers } from '../../links/peer/open-peers.ts';
import type { ExtentPage, OpenPeer } from './ports.ts';
import { type CopySource, type HostStage, hostStage, type SealedCopy } from './testing/host-stage.ts';
import { relay } from './testing/relay.ts';

const MiB = 1024 * 1024;

/** Data, a hole, data that begins and ends within a block, a long hole, and a short last block. */
function sample(): Buffer {
  const bytes = Buffer.alloc(25 * MiB + 12_345);
  randomBytes(7 * MiB).copy(bytes, 0);
  randomBytes(3 * MiB + 777).copy(bytes, 9 * MiB + 100);
  randomBytes(1000).copy(bytes, bytes.length - 1000);
  return bytes;
}

/** In whole blocks. */
const DATA = (7 + 4 + 1) * MiB;

const bytes = sample();
const ended = ({ pull }: { readonly pull: string | null }) => pull === 'done' || pull === 'failed';

/** Bytes of the sealed file are changed behind the Store's back. */
async function spoil(host: HostStage, { storeId, key }: SealedCopy, ...offsets: readonly number[]): Promise<void> {
  const folder = host.storeIds.indexOf(storeId) === 0 ? 'a' : 'b';
  const file = await open(join(host.folder, folder, 'objects', key), 'r+');
  for (const offset of offsets) await file.write(Buffer.from('spoiled'), 0, 7, offset);
  await file.close();
}

async function mustBeWhole(
  host: HostStage,
  ref: Parameters<HostStage['finish']>[0] & { storeId: string; key: string },
) {
  const { sealed } = await host.finish(ref, treeOf(bytes));
  expect(sealed?.treeDigest).toBe(treeOf(bytes));
  expect((await host.content(ref.storeId, ref.key)).equals(bytes)).toBe(true);
  expect(host.slabs.inUse).toBe(0);
}

test('an agent fetches a copy from the data listener of another: same bytes, same tree, holes stay at home', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  await using wire = await relay(from.url);
  const ref = await to.open({ declaredSize: bytes.length });
  expect(await to.pull(ref, await from.sourceFor(copy, wire.url))).toMatchObject({ pull: 'running' });
  const report = await to.until(ref, ended);
  expect(report).toMatchObject({ pull: 'done', state: 'open', receivedBytes: bytes.length, problem: null });
  expect(report.zeroBytes).toBeGreaterThanOrEqual(12 * MiB);
  expect(wire.received()).toBeLessThan(DATA + MiB / 2);
  // All but the last block, which is too small for it.
  expect(to.moved()).toBe(DATA - MiB);
  await mustBeWhole(to, ref);
});

test('with a size that nobody declared, of nothing at all, and repeated', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  for (const content of [bytes, Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(3 * MiB)]) {
    const source = await from.sourceFor(await from.sealed(content));
    const ref = await to.open();
    for (let i = 0; i < 3; i++) await to.pull(ref, source);
    const { sealed } = await to.finish(ref, treeOf(content));
    expect(sealed?.size).toBe(content.length);
    expect((await to.content(ref.storeId, ref.key)).equals(content)).toBe(true);
    expect((await to.pull(ref, source)).state).toBe('sealed');
  }
});

test('after cuts at random places only what is missing is fetched again', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  await using wire = await relay(from.url, {
    cutAfter: (count) => (count < 15 ? 1000 + Math.floor(Math.random() * 3 * MiB) : undefined),
  });
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, await from.sourceFor(copy, wire.url));
  await mustBeWhole(to, ref);
  expect(to.waits.length).toBeGreaterThan(0);
  // A block that was cut is fetched whole again, on each of the lanes.
  expect(wire.received()).toBeLessThan(DATA + wire.connections() * 2 * MiB);
});

test('a restart of the agent forgets the fetching and nothing else', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  const ref = await to.open({ declaredSize: bytes.length });
  await using slow = await relay(from.url, { cutAfter: () => 2 * MiB });
  await to.pull(ref, await from.sourceFor(copy, slow.url));
  await to.until(ref, ({ receivedBytes }) => receivedBytes > 5 * MiB);
  await to.restart();
  const { pull, receivedBytes } = await to.until(ref, () => true);
  expect(pull).toBeNull();
  expect(receivedBytes).toBeGreaterThan(5 * MiB);
  await using wire = await relay(from.url);
  await to.pull(ref, await from.sourceFor(copy, wire.url));
  await mustBeWhole(to, ref);
  expect(wire.received()).toBeLessThan(bytes.length - receivedBytes + 5 * MiB);
});

test('a byte that changes on the way is found at its block, which is fetched once more', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  let spoiled = false;
  await using wire = await relay(from.url, {
    spoil(chunk, at) {
      if (spoiled || at < 2 * MiB || chunk.length < 10_000) return;
      spoiled = true;
      chunk[9000] = (chunk[9000] ?? 0) ^ 1;
    },
  });
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, await from.sourceFor(copy, wire.url));
  await mustBeWhole(to, ref);
  expect(spoiled).toBe(true);
});

test('a damaged block of the source is named; the rest is kept and comes from another copy', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const [good, bad] = [await from.sealed(bytes), await from.sealed(bytes)];
  await spoil(from, bad, 5 * MiB + 5);
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, await from.sourceFor(bad));
  const failed = await to.until(ref, ended);
  expect(failed).toMatchObject({ pull: 'failed', state: 'open', problem: { code: 'corrupt' } });
  expect(failed.problem?.message).toContain('Block 5 of the source');
  await to.pull(ref, await from.sourceFor(good));
  await mustBeWhole(to, ref);
});

test('what was received before and is wrong is fetched again: nothing is trusted because it is there', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  const ref = await to.open({ declaredSize: bytes.length });
  const wrong = Buffer.from(bytes).fill('x', 2 * MiB, 2 * MiB + 10);
  const request = { offset: MiB, length: 3 * MiB, total: null };
  const signal = new AbortController().signal;
  await to.agent.plane.receive(ref.uploadId, request, sourceOf(wrong.subarray(MiB, 4 * MiB)), signal);
  await to.agent.plane.zeros(ref.uploadId, [{ offset: 5 * MiB + 7, length: 100 }]);
  await to.pull(ref, await from.sourceFor(copy));
  await mustBeWhole(to, ref);
});

test('a source whose block digests are not those of the image gives nothing', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, { ...(await from.sourceFor(copy)), treeDigest: 'ab'.repeat(32) });
  expect(await to.until(ref, ended)).toMatchObject({ receivedBytes: 0, problem: { code: 'digest-mismatch' } });
  const other = await to.open({ declaredSize: bytes.length + 1 });
  await to.pull(other, { ...(await from.sourceFor(copy)), size: bytes.length + 1 });
  expect(await to.until(other, ended)).toMatchObject({ receivedBytes: 0, pull: 'failed' });
});

test.each([
  ['a ticket that is not known', (source: CopySource) => ({ ...source, ticket: 'x'.repeat(43) }), 'unavailable'],
  ['a copy that is gone', (source: CopySource) => ({ ...source, url: `${source.url}x` }), 'forbidden'],
  ['an agent that is away', (source: CopySource) => ({ ...source, url: 'http://127.0.0.1:1/x' }), 'unavailable'],
])('%s ends as what it is', async (_, change, code) => {
  await using from = await hostStage();
  await using to = await hostStage();
  const source = await from.sourceFor(await from.sealed(bytes));
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, change(source));
  expect(await to.until(ref, ended)).toMatchObject({ pull: 'failed', receivedBytes: 0, problem: { code } });
});

test.each([
  ['the same', 0],
  ['another', 1],
])('a copy of this host in %s store is read without HTTP', async (_, store) => {
  await using host = await hostStage();
  const copy = await host.sealed(bytes);
  const source: CopySource = {
    kind: 'copy',
    url: 'http://127.0.0.1:1/never',
    ticket: 'none',
    ca: null,
    size: copy.size,
    treeDigest: copy.treeDigest,
    local: { storeId: copy.storeId, key: copy.key },
  };
  const ref = await host.open({ declaredSize: bytes.length, store });
  await host.pull(ref, source);
  await mustBeWhole(host, ref);
  const [stat] = (await host.agent.call('describeCopies', { copies: [{ storeId: ref.storeId, key: ref.key }] })).copies;
  expect(stat?.storedSize).toBeLessThan(DATA + MiB);
});

test('pause waits, resume goes on; a stop leaves what was received; a discard ends it', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  const source = await from.sourceFor(copy);
  const ref = await to.open({ declaredSize: bytes.length });
  const { uploadId, generation } = ref;
  await to.agent.call('pauseUpload', { uploadId, generation });
  await to.pull(ref, source);
  await to.until(ref, ({ pull, state }) => pull === 'waiting' && state === 'paused');
  await to.agent.call('resumeUpload', { uploadId, generation });
  await to.until(ref, ({ receivedBytes }) => receivedBytes > 0);
  const stopped = await to.agent.call('stopPull', { uploadId, generation });
  expect(stopped.pull).toBeNull();
  const later = await to.until(ref, () => true);
  expect(later.receivedBytes).toBe(stopped.receivedBytes);
  await to.pull(ref, source);
  await to.agent.call('discardUpload', { uploadId, generation });
  expect(to.slabs.inUse).toBe(0);
});

test('an agent that stops in the middle does not wait for the source', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const source = await from.sourceFor(await from.sealed(bytes));
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, source);
  await to.until(ref, ({ receivedBytes }) => receivedBytes > MiB);
  await to.restart();
  expect(to.slabs.inUse).toBe(0);
});

test('over TLS the certificate is verified with the CA that control gave, and with nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-peer-tls-'));
  await mkdir(join(folder, 'keys'));
  const tls = await ownTlsKeys((...parts) => join(folder, ...parts), new Date());
  await using from = await hostStage({ tls });
  await using to = await hostStage();
  const source = await from.sourceFor(await from.sealed(bytes));
  expect(source.url).toMatch(/^https:/);
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, source);
  expect(await to.until(ref, ended)).toMatchObject({ pull: 'failed', problem: { code: 'unavailable' } });
  await to.pull(ref, { ...source, ca: tls.cert });
  await mustBeWhole(to, ref);
  expect(to.moved()).toBe(DATA - MiB);
  await rm(folder, { recursive: true });
});

test('two sources that were named at once were fetched from side by side', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await from.sealed(bytes);
  await using one = await relay(from.url);
  await using two = await relay(from.url);
  const ref = await to.open({ declaredSize: bytes.length });
  const sources = await Promise.all([from.sourceFor(copy, one.url), from.sourceFor(copy, two.url)]);
  await Promise.all(sources.map((source) => to.pull(ref, source)));
  await mustBeWhole(to, ref);
  expect(one.received() + two.received()).toBeLessThan(1.5 * DATA);
});

test('bytes that somebody discarded were missing for ever once the fetching was done', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const source = await from.sourceFor(await from.sealed(bytes));
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, source);
  await to.until(ref, ended);
  await to.agent.plane.discard(ref.uploadId, [{ offset: 3 * MiB + 5, length: 2 * MiB }]);
  expect(await to.pull(ref, source)).toMatchObject({ pull: 'running' });
  await mustBeWhole(to, ref);
});

test('bytes that somebody discards while they are fetched are fetched again', async () => {
  await using from = await hostStage();
  let discarded = 0;
  const to: HostStage = await hostStage({
    openPeer: lying((page) => {
      // Whatever is here by now, once.
      if (page.next === null && discarded++ === 0) void to.agent.plane.discard(ref.uploadId, [whole]).catch(() => {});
      return page;
    }),
  });
  await using _ = to;
  const whole = { offset: 0, length: bytes.length };
  const ref = await to.open({ declaredSize: bytes.length });
  await to.agent.plane.receive(
    ref.uploadId,
    { offset: 0, length: 9 * MiB, total: null },
    sourceOf(bytes.subarray(0, 9 * MiB)),
    new AbortController().signal,
  );
  await to.pull(ref, await from.sourceFor(await from.sealed(bytes)));
  await mustBeWhole(to, ref);
  expect(discarded).toBeGreaterThan(0);
});

/** What the peer tells of its extents is changed on the way. */
function lying(bend: (page: ExtentPage, from: number) => ExtentPage): OpenPeer {
  return (address) => {
    const peer = openPeers({ passed: () => {} })(address);
    return {
      lanes: peer.lanes,
      extents: async (from, signal) => bend(await peer.extents(from, signal), from),
      leaves: (first, count, signal) => peer.leaves(first, count, signal),
      data: (range, signal) => peer.data(range, signal),
      [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
    };
  };
}

test.each<readonly [string, (page: ExtentPage, from: number) => ExtentPage]>([
  ['never came to an end', (page, from) => ({ ...page, extents: [], next: from })],
  ['left out its first extent', (page) => ({ ...page, extents: page.extents.slice(1) })],
  ['left out its last extent', (page) => ({ ...page, extents: page.extents.slice(0, -1) })],
])('a source whose extents %s was believed', async (_, bend) => {
  await using from = await hostStage();
  await using to = await hostStage({ openPeer: lying(bend) });
  const ref = await to.open({ declaredSize: bytes.length });
  await to.pull(ref, await from.sourceFor(await from.sealed(bytes)));
  expect(await to.until(ref, ended)).toMatchObject({ pull: 'failed', problem: { code: 'unsupported' } });
});
