import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Caller, contentDigest, leavesOf, MiB, nextUploadWorks, sha256, treeSha256, until } from './caller.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing();
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

test('an image of 0 bytes and one of 1 byte go in and come out', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('x')]) {
    const upload = await api.begin({ name: `of ${bytes.length}`, size: bytes.length });
    if (bytes.length > 0) await api.put(upload.id, 0, bytes);
    const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
    expect(image).toMatchObject({ state: 'ready', size: bytes.length, digests: [`tree-sha256:${treeSha256(bytes)}`] });
    expect((await api.data(image.id)).equals(bytes)).toBe(true);
  }
});

test('a PUT without Content-Range begins at 0', async () => {
  const bytes = randomBytes(70_000);
  const upload = await api.begin({ name: 'no range', size: bytes.length });
  const answer = await api.call('PUT', `/uploads/${upload.id}/data`, { bytes });
  expect(answer.json).toEqual({ offset: 0, length: bytes.length, receivedBytes: bytes.length, complete: true });
  const { image } = await api.finish(upload.id);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test.each([
  [1, 4096],
  [2, 700_001],
  [3, 3 * MiB + 5],
])(
  'chunks of random sizes (seed %i, up to %i bytes), unaligned, out of order, some twice, some overlapping',
  async (seed, most) => {
    const random = randomFrom(seed);
    const between = (least: number, below: number) => least + Math.floor(random() * (below - least));
    const bytes = randomBytes(Math.min(most * 40, 5 * MiB) + between(1, 4000));
    const upload = await api.begin({ name: 'in pieces', size: bytes.length });
    const cuts: { at: number; length: number }[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(between(1, most), bytes.length - at);
      cuts.push({ at, length });
      at += length;
    }
    const again = cuts.filter(() => random() < 0.2);
    const overlapping = cuts
      .filter(() => random() < 0.2)
      .map(({ at, length }) => {
        const from = Math.max(0, at - between(0, 5000));
        return { at: from, length: Math.min(length + between(0, 5000), bytes.length - from) };
      });
    const all = [...cuts, ...again, ...overlapping]
      .map((cut) => ({ cut, place: random() }))
      .sort((a, b) => a.place - b.place)
      .map(({ cut }) => cut);
    const lanes = Array.from({ length: 6 }, async () => {
      for (let cut = all.pop(); cut !== undefined; cut = all.pop()) {
        await api.put(upload.id, cut.at, bytes.subarray(cut.at, cut.at + cut.length));
      }
    });
    await Promise.all(lanes);
    const received = await api.ranges(upload.id);
    expect(received).toMatchObject({ receivedBytes: bytes.length, ranges: [{ offset: 0, length: bytes.length }] });
    const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
    expect((await api.data(image.id)).equals(bytes)).toBe(true);
    const leaves = await api.call('GET', `/images/${image.id}/leaves`);
    expect(leaves.bytes.equals(Buffer.concat(leavesOf(bytes)))).toBe(true);
  },
);

/** The same numbers for the same seed, 0 to 1 (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('zeros are metadata, in holes between data, and come out as zeros', async () => {
  const size = 40 * MiB + 123;
  const bytes = Buffer.alloc(size);
  randomBytes(MiB).copy(bytes, 7 * MiB + 11);
  const upload = await api.begin({ name: 'with holes', size, dataSize: MiB });
  await api.put(upload.id, 7 * MiB + 11, bytes.subarray(7 * MiB + 11, 8 * MiB + 11));
  await api.zeros(
    upload.id,
    { offset: 0, length: 7 * MiB + 11 },
    { offset: 8 * MiB + 11, length: size - 8 * MiB - 11 },
  );
  expect((await api.ranges(upload.id)).zeros).toEqual([
    { offset: 0, length: 7 * MiB + 11 },
    { offset: 8 * MiB + 11, length: size - 8 * MiB - 11 },
  ]);
  const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
  expect(image.storedSize).toBeLessThan(3 * MiB);
});

test('zeros that are sent as bytes take no space either', async () => {
  const upload = await api.begin({ name: 'sent zeros', size: 8 * MiB });
  await api.put(upload.id, 0, Buffer.alloc(8 * MiB));
  const { image } = await api.finish(upload.id);
  expect(image.storedSize).toBe(0);
});

test('a size that is not known is what was sent when finish says nothing, and what finish says when there is a tail of zeros', async () => {
  const bytes = randomBytes(2 * MiB + 100);
  const first = await api.begin({ name: 'pipe' });
  expect(first.declaredSize).toBeNull();
  await api.put(first.id, 0, bytes.subarray(0, MiB + 9));
  await api.put(first.id, MiB + 9, bytes.subarray(MiB + 9));
  expect((await api.finish(first.id)).image).toMatchObject({ state: 'ready', size: bytes.length });

  const second = await api.begin({ name: 'pipe' });
  await api.put(second.id, 0, bytes);
  const shorter = await api.refused('POST', `/uploads/${second.id}/finish`, { body: { size: 100 } });
  expect(shorter.code).toBe('size-mismatch');
  const longer = await api.refused('POST', `/uploads/${second.id}/finish`, { body: { size: bytes.length + 50 } });
  expect(longer).toMatchObject({ code: 'incomplete', details: { missing: [{ offset: bytes.length, length: 50 }] } });
  await api.zeros(second.id, { offset: bytes.length, length: 50 });
  const { image } = await api.finish(second.id, { size: bytes.length + 50 });
  expect((await api.data(image.id)).equals(Buffer.concat([bytes, Buffer.alloc(50)]))).toBe(true);
});

test('an image larger than any file of the filesystem (2^52) is refused for good, before anything is sent', async () => {
  const problem = await api.refused('POST', '/uploads', { body: { name: 'vast', size: 2 ** 52, dataSize: 4096 } });
  expect(problem).toMatchObject({ code: 'too-large', retryable: false });
});

test('100 finishes at once all get the same answer', async () => {
  const bytes = randomBytes(6 * MiB);
  const upload = await api.begin({ name: 'finished often', size: bytes.length });
  await api.put(upload.id, 0, bytes);
  const digest = `tree-sha256:${treeSha256(bytes)}`;
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      api.call('POST', `/uploads/${upload.id}/finish`, i % 2 === 0 ? {} : { body: { size: bytes.length, digest } }),
    ),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  const images = new Set(
    answers.map(({ json }) => {
      const { image } = json as { image: { id: string; state: string; digests: string[]; size: number } };
      return JSON.stringify([image.id, image.state, image.digests, image.size]);
    }),
  );
  expect(images).toEqual(new Set([JSON.stringify([upload.imageId, 'ready', [digest], bytes.length])]));
  expect((await api.finish(upload.id)).image.id).toBe(upload.imageId);
});

test('a finish with holes says which bytes are missing, and works once they are there', async () => {
  const bytes = randomBytes(4 * MiB);
  const upload = await api.begin({ name: 'holey', size: bytes.length });
  await api.put(upload.id, 1000, bytes.subarray(1000, MiB));
  await api.put(upload.id, 2 * MiB, bytes.subarray(2 * MiB, 3 * MiB));
  const problem = await api.refused('POST', `/uploads/${upload.id}/finish`);
  expect(problem).toMatchObject({ code: 'incomplete', status: 409 });
  expect(problem.details?.missing).toEqual([
    { offset: 0, length: 1000 },
    { offset: MiB, length: MiB },
    { offset: 3 * MiB, length: MiB },
  ]);
  for (const { offset, length } of (problem.details?.missing ?? []) as { offset: number; length: number }[]) {
    await api.put(upload.id, offset, bytes.subarray(offset, offset + length));
  }
  expect((await api.finish(upload.id)).image.state).toBe('ready');
});

test('a finish with the wrong tree digest keeps everything; the blocks that differ are discarded, sent again and it ends', async () => {
  const bytes = randomBytes(5 * MiB + 333);
  const upload = await api.begin({ name: 'one bad block', size: bytes.length });
  const damaged = Buffer.from(bytes);
  damaged[3 * MiB + 17] = (damaged[3 * MiB + 17] ?? 0) ^ 1;
  await api.put(upload.id, 0, damaged);
  const digest = `tree-sha256:${treeSha256(bytes)}`;
  const problem = await api.refused('POST', `/uploads/${upload.id}/finish`, { body: { digest } });
  expect(problem).toMatchObject({ code: 'digest-mismatch', status: 422 });
  expect((await api.upload(upload.id)).state).toBe('open');

  const { bytes: found } = await api.call('GET', `/uploads/${upload.id}/leaves`);
  const wrong = leavesOf(bytes).flatMap((leaf, i) => (leaf.equals(found.subarray(i * 32, i * 32 + 32)) ? [] : [i]));
  expect(wrong).toEqual([3]);
  const range = { offset: 3 * MiB, length: MiB };
  expect((await api.refusedPut(upload.id, range.offset, bytes.subarray(3 * MiB, 4 * MiB))).code).toBe('range-conflict');
  await api.ok('POST', `/uploads/${upload.id}/discard`, { body: { ranges: [range] } });
  await api.put(upload.id, range.offset, bytes.subarray(3 * MiB, 4 * MiB));
  const { image } = await api.finish(upload.id, { digest });
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test.each(['in order', 'out of order'])(
  'a wrong declared sha256 makes the image fail and says why (%s)',
  async (order) => {
    const bytes = randomBytes(3 * MiB);
    const digest = `sha256:${'ab'.repeat(32)}`;
    const upload = await api.begin({ name: `wrong sha256 ${order}`, size: bytes.length, digest });
    const parts = [0, 1, 2];
    for (const i of order === 'in order' ? parts : parts.reverse()) {
      await api.put(upload.id, i * MiB, bytes.subarray(i * MiB, (i + 1) * MiB));
    }
    const answer = await api.call('POST', `/uploads/${upload.id}/finish`);
    if (order === 'in order') expect(answer.json).toMatchObject({ code: 'digest-mismatch' });
    const task = await api.taskIs(upload.taskId, 'FAILURE');
    expect(task).toMatchObject({ cause: 'digest-mismatch' });
    const image = await api.image(upload.imageId);
    expect(image.state).toBe('failed');
    expect(image.status).toContain(sha256(bytes));
    expect(image.status).toContain(digest);
    expect((await api.refused('GET', `/images/${image.id}/data`)).code).toBe('conflict');
  },
);

test.each(['in order', 'out of order'])('a right declared sha256 makes the image ready with it (%s)', async (order) => {
  const bytes = randomBytes(3 * MiB);
  const digest = `sha256:${sha256(bytes)}`;
  const upload = await api.begin({ name: `right sha256 ${order}`, size: bytes.length, digest });
  const parts = [0, 1, 2];
  for (const i of order === 'in order' ? parts : parts.reverse()) {
    await api.put(upload.id, i * MiB, bytes.subarray(i * MiB, (i + 1) * MiB));
  }
  await api.finish(upload.id);
  await api.taskIs(upload.taskId, 'SUCCESS');
  const image = await api.image(upload.imageId);
  expect(image.state).toBe('ready');
  expect([...image.digests].sort()).toEqual([digest, `tree-sha256:${treeSha256(bytes)}`].sort());
});

test('of a body whose Content-Digest is wrong nothing counts, and the right one is taken afterwards', async () => {
  const bytes = randomBytes(3 * MiB + 5);
  const upload = await api.begin({ name: 'digested', size: bytes.length });
  const wrong = { 'content-digest': contentDigest(randomBytes(8)) };
  const problem = await api.refusedPut(upload.id, 0, bytes, wrong);
  expect(problem).toMatchObject({ code: 'digest-mismatch', status: 422 });
  expect(await api.ranges(upload.id)).toMatchObject({ receivedBytes: 0, ranges: [], zeros: [], fragments: [] });
  for (const algorithm of ['sha-256', 'sha-512'] as const) {
    await api.put(upload.id, 0, bytes, { 'content-digest': contentDigest(bytes, algorithm) });
  }
  const { image } = await api.finish(upload.id);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test('two clients that send the same bytes at once both succeed', async () => {
  const bytes = randomBytes(9 * MiB + 1);
  const upload = await api.begin({ name: 'two alike', size: bytes.length });
  await Promise.all([
    api.put(upload.id, 0, bytes),
    api.put(upload.id, 0, bytes),
    api.put(upload.id, 12345, bytes.subarray(12345)),
    api.put(upload.id, 0, bytes, { 'content-digest': contentDigest(bytes) }),
  ]);
  const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test('two clients that send different bytes at once: what is acknowledged to one is what comes out', async () => {
  for (let round = 0; round < 8; round++) {
    const [a, b] = [randomBytes(2 * MiB), randomBytes(2 * MiB)];
    const upload = await api.begin({ name: 'two unlike', size: a.length });
    const answers = await Promise.all(
      [a, b].map((bytes, i) =>
        api.tryPut(upload.id, 0, bytes, i === 1 && round % 2 === 1 ? { 'content-digest': contentDigest(bytes) } : {}),
      ),
    );
    const taken = answers.filter(({ status }) => status === 200).length;
    expect(taken).toBeLessThanOrEqual(1);
    // With a Content-Digest the one that was overtaken may be told before it is known what becomes of the other.
    const refusals = round % 2 === 1 ? ['range-conflict', 'unavailable'] : ['range-conflict'];
    for (const answer of answers)
      if (answer.status !== 200) expect(answer.json).toMatchObject({ code: expect.toBeOneOf(refusals) });
    const leaves = (await api.call('GET', `/uploads/${upload.id}/leaves`)).bytes;
    for (const block of [0, 1]) {
      const leaf = leaves.subarray(block * 32, block * 32 + 32);
      const mine = [a, b].some((bytes) => leavesOf(bytes)[block]?.equals(leaf));
      expect(mine || leaf.every((byte) => byte === 0)).toBe(true);
    }
    const winner = answers.findIndex(({ status }) => status === 200);
    if (winner >= 0) {
      const { image } = await api.finish(upload.id);
      expect((await api.data(image.id)).equals([a, b][winner] ?? Buffer.alloc(0))).toBe(true);
    }
  }
});

test('zeros over data and data over zeros are conflicts; the same zeros again are not', async () => {
  const upload = await api.begin({ name: 'zeros and data', size: 4 * MiB });
  await api.put(upload.id, 0, randomBytes(MiB));
  await api.zeros(upload.id, { offset: 2 * MiB, length: MiB });
  const over = await api.refused('POST', `/uploads/${upload.id}/zeros`, {
    body: { ranges: [{ offset: 100, length: 100 }] },
  });
  expect(over.code).toBe('range-conflict');
  expect((await api.refusedPut(upload.id, 2 * MiB, randomBytes(100))).code).toBe('range-conflict');
  await api.zeros(upload.id, { offset: 2 * MiB, length: MiB });
  await api.put(upload.id, 2 * MiB, Buffer.alloc(MiB));
});

test('pause refuses with 409 and cuts what is under way; resume goes on', async () => {
  const bytes = randomBytes(2 * MiB);
  const upload = await api.begin({ name: 'paused', size: bytes.length });
  await api.put(upload.id, 0, bytes.subarray(0, MiB));
  await api.taskIs(upload.taskId, 'RUNNING');
  expect(await api.ok('POST', `/tasks/${upload.taskId}/pause`)).toMatchObject({ state: 'PAUSED', cause: 'user' });
  expect(await api.refusedPut(upload.id, MiB, bytes.subarray(MiB))).toMatchObject({ code: 'paused', status: 409 });
  expect(
    await api.refused('POST', `/uploads/${upload.id}/zeros`, { body: { ranges: [{ offset: MiB, length: 1 }] } }),
  ).toMatchObject({ code: 'paused' });
  expect((await api.ranges(upload.id)).receivedBytes).toBe(MiB);
  await api.ok('POST', `/tasks/${upload.taskId}/resume`);
  await api.put(upload.id, MiB, bytes.subarray(MiB));
  const { image } = await api.finish(upload.id);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test('cancel gives the reserved space back and takes no more bytes', async () => {
  const store = async () => (await api.ok<{ items: { reserved: number; free: number }[] }>('GET', '/stores')).items[0];
  const before = (await store())?.reserved ?? 0;
  const upload = await api.begin({ name: 'cancelled', size: 64 * MiB });
  await api.put(upload.id, 0, randomBytes(4 * MiB));
  expect((await store())?.reserved).toBe(before + 64 * MiB);
  expect((await api.call('DELETE', `/uploads/${upload.id}`)).status).toBe(204);
  expect((await api.call('DELETE', `/uploads/${upload.id}`)).status).toBe(204);
  await until(async () => (await store())?.reserved === before);
  expect(await api.refusedPut(upload.id, 4 * MiB, randomBytes(10))).toMatchObject({ code: 'cancelled', status: 410 });
  expect((await api.refused('POST', `/uploads/${upload.id}/finish`)).code).toBe('cancelled');
  expect((await api.refused('GET', `/images/${upload.imageId}`)).code).toBe('not-found');
  expect((await api.task(upload.taskId)).state).toBe('CANCELLED');
});

test('leaves and fragments tell every received byte, for aligned and unaligned clients: a changed byte is found', async () => {
  const bytes = randomBytes(4 * MiB);
  const upload = await api.begin({ name: 'checked on resume', size: bytes.length });
  const sent = [
    { offset: 0, length: MiB },
    { offset: MiB + 4097, length: 300_000 },
    { offset: 2 * MiB - 50, length: 100 },
    { offset: 3 * MiB + 1, length: MiB - 1 },
  ];
  for (const { offset, length } of sent) await api.put(upload.id, offset, bytes.subarray(offset, offset + length));
  originals.set(upload.id, bytes);
  const changed = Buffer.from(bytes);
  for (const at of [7, MiB + 5000, 2 * MiB - 1, 2 * MiB + 49, 4 * MiB - 1]) {
    changed[at] = (changed[at] ?? 0) ^ 0x80;
    expect(await differing(upload.id, changed)).toEqual([at]);
    changed[at] = bytes[at] ?? 0;
  }
  expect(await differing(upload.id, bytes)).toEqual([]);
});

const originals = new Map<string, Buffer>();

/** As a client does on resume: each received byte is told of by a leaf or a fragment. The changed bytes in pieces that differ. */
async function differing(id: string, source: Buffer): Promise<number[]> {
  const received = await api.ranges(id);
  const leaves = (await api.call('GET', `/uploads/${id}/leaves`)).bytes;
  const told = new Uint8Array(source.length);
  const wrong: { from: number; to: number }[] = [];
  const check = (from: number, to: number, hex: string) => {
    told.fill(1, from, to);
    if (sha256(source.subarray(from, to)) !== hex) wrong.push({ from, to });
  };
  for (let block = 0; block * MiB < source.length; block++) {
    const hex = leaves.subarray(block * 32, block * 32 + 32).toString('hex');
    if (!/^0+$/.test(hex)) check(block * MiB, (block + 1) * MiB, hex);
  }
  for (const { offset, length, sha256: hex } of received.fragments) check(offset, offset + length, hex);
  for (const { offset, length } of received.ranges) {
    expect(told.subarray(offset, offset + length).every((byte) => byte === 1)).toBe(true);
  }
  return wrong.map(({ from, to }) => {
    const original = originals.get(id) ?? source;
    for (let at = from; at < to; at++) if (original[at] !== source[at]) return at;
    return -1;
  });
}
