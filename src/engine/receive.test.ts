import { createHash, randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TREE_BLOCK } from '../core/digest.ts';
import { isHawserError } from '../core/errors.ts';
import { type BodyRequest, receiveBody } from './receive.ts';
import { makeRig, type Rig, sourceOf, treeOf } from './testing/rig.ts';

const never = new AbortController().signal;

function send(
  rig: Rig,
  bytes: Uint8Array,
  request: Partial<BodyRequest> & { step?: number; failAt?: number } = {},
): Promise<number> {
  const { step, failAt, ...rest } = request;
  return receiveBody(
    rig,
    { offset: 0, length: bytes.length, end: null, ...rest },
    sourceOf(bytes, step, failAt),
    never,
  );
}

async function stored(rig: Rig, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await rig.incoming.writer.read(bytes, 0);
  return bytes;
}

/** Data, a run of zeros, an unaligned tail. */
function sample(): Buffer {
  return Buffer.concat([randomBytes(1.5 * TREE_BLOCK), Buffer.alloc(2.5 * TREE_BLOCK), randomBytes(TREE_BLOCK + 777)]);
}

describe('a body', () => {
  test('is stored, hashed and acknowledged, zeros as zeros', async () => {
    await using rig = await makeRig();
    const bytes = sample();
    expect(await send(rig, bytes, { step: 50_001 })).toBe(bytes.length);
    expect((await stored(rig, bytes.length)).equals(bytes)).toBe(true);
    expect(rig.incoming.received.all.bytes).toBe(bytes.length);
    expect(rig.incoming.received.zeros.bytes).toBe(2 * TREE_BLOCK);
    expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
    expect(rig.means.slabs.inUse).toBe(0);
  });

  test('that breaks off leaves what arrived', async () => {
    await using rig = await makeRig();
    const bytes = randomBytes(3 * TREE_BLOCK);
    const cut = TREE_BLOCK + 4 * 65_536;
    await expect(send(rig, bytes, { failAt: cut })).rejects.toThrow('cut');
    expect([...rig.incoming.received.all]).toEqual([{ offset: 0, length: cut }]);
    expect((await stored(rig, cut)).equals(bytes.subarray(0, cut))).toBe(true);
    const { fragments } = await rig.incoming.partialLeaves(bytes.length, { first: 0, count: 10 });
    expect(fragments.map(({ offset, length, digest }) => [offset, length, digest.toString('hex')])).toEqual([
      [TREE_BLOCK, cut - TREE_BLOCK, createHash('sha256').update(bytes.subarray(TREE_BLOCK, cut)).digest('hex')],
    ]);
    expect(rig.means.slabs.inUse).toBe(0);
  });

  test('with a wrong Content-Digest counts for nothing, with the right one for all', async () => {
    await using rig = await makeRig();
    const bytes = randomBytes(2 * TREE_BLOCK + 5);
    const right = { algorithm: 'sha256', bytes: createHash('sha256').update(bytes).digest() } as const;
    const wrong = { algorithm: 'sha256', bytes: randomBytes(32) } as const;
    await expect(send(rig, bytes, { digest: wrong })).rejects.toSatisfy((e) => isHawserError(e, 'digest-mismatch'));
    expect(rig.incoming.received.all.bytes).toBe(0);
    await expect(send(rig, bytes, { digest: right, failAt: TREE_BLOCK + 65_536 })).rejects.toThrow('cut');
    expect(rig.incoming.received.all.bytes).toBe(0);
    expect(await send(rig, bytes, { digest: right })).toBe(bytes.length);
    expect(rig.incoming.received.all.bytes).toBe(bytes.length);
  });

  test('that says zeros where an unacknowledged body wrote data really leaves zeros', async () => {
    await using rig = await makeRig();
    const wrong = { algorithm: 'sha256', bytes: randomBytes(32) } as const;
    await expect(send(rig, randomBytes(2 * TREE_BLOCK), { digest: wrong })).rejects.toThrow();
    await rig.incoming.zero({ offset: 0, length: 2 * TREE_BLOCK });
    expect((await stored(rig, 2 * TREE_BLOCK)).equals(Buffer.alloc(2 * TREE_BLOCK))).toBe(true);
  });

  test('longer than announced is refused, and the good part kept', async () => {
    await using rig = await makeRig();
    const bytes = randomBytes(TREE_BLOCK + 10);
    await expect(send(rig, bytes, { length: null, end: TREE_BLOCK })).rejects.toSatisfy((e) =>
      isHawserError(e, 'out-of-range'),
    );
    expect(rig.incoming.received.all.bytes).toBeLessThanOrEqual(TREE_BLOCK);
    await expect(send(rig, bytes.subarray(0, 100), { length: 99 })).rejects.toSatisfy((e) =>
      isHawserError(e, 'out-of-range'),
    );
  });

  test('shorter than announced is a lost connection', async () => {
    await using rig = await makeRig();
    await expect(send(rig, randomBytes(100), { length: 101 })).rejects.toSatisfy((e) =>
      isHawserError(e, 'connection-lost'),
    );
    expect(rig.incoming.received.all.bytes).toBe(100);
  });

  test('waits for slabs that others hold, and all end', async () => {
    await using rig = await makeRig(2);
    const bytes = randomBytes(6 * TREE_BLOCK);
    const parts = [0, 1, 2, 3, 4, 5].map((i) =>
      send(rig, bytes.subarray(i * TREE_BLOCK, (i + 1) * TREE_BLOCK), { offset: i * TREE_BLOCK, step: 10_000 }),
    );
    await Promise.all(parts);
    expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
  });
});

describe('ranges are write-once', () => {
  test('the same bytes again are skipped, other bytes are a conflict, whatever the cut', async () => {
    await using rig = await makeRig();
    const bytes = sample();
    await send(rig, bytes);
    await send(rig, bytes.subarray(1000, 2 * TREE_BLOCK + 99), { offset: 1000 });
    const other = Buffer.from(bytes.subarray(1000, TREE_BLOCK + 1000));
    other[500_000] = (other[500_000] ?? 0) ^ 1;
    await expect(send(rig, other, { offset: 1000 })).rejects.toSatisfy((e) => isHawserError(e, 'range-conflict'));
    await expect(rig.incoming.zero({ offset: 0, length: 10 })).rejects.toSatisfy((e) =>
      isHawserError(e, 'range-conflict'),
    );
    await rig.incoming.zero({ offset: 2 * TREE_BLOCK, length: TREE_BLOCK });
    expect((await stored(rig, bytes.length)).equals(bytes)).toBe(true);
  });

  test('of two that send different bytes at once exactly one wins, and nothing is mixed', async () => {
    await using rig = await makeRig();
    const [a, b] = [randomBytes(4 * TREE_BLOCK), randomBytes(4 * TREE_BLOCK)];
    await Promise.allSettled([send(rig, a), send(rig, b)]);
    const leaves = await rig.incoming.leaves(rig.incoming.received.all.bytes);
    const found = await stored(rig, rig.incoming.received.all.bytes);
    expect(leaves.treeDigest()).toBe(treeOf(found));
    for (let block = 0; block * TREE_BLOCK < found.length; block++) {
      const bytes = found.subarray(block * TREE_BLOCK, (block + 1) * TREE_BLOCK);
      const from = block * TREE_BLOCK;
      expect(
        bytes.equals(a.subarray(from, from + bytes.length)) || bytes.equals(b.subarray(from, from + bytes.length)),
      ).toBe(true);
    }
  });

  test('a body held back by its Content-Digest keeps nobody else waiting', async () => {
    await using rig = await makeRig();
    const bytes = randomBytes(2 * TREE_BLOCK);
    const gate = Promise.withResolvers<void>();
    const slow = receiveBody(
      rig,
      {
        offset: 0,
        length: bytes.length,
        end: null,
        digest: { algorithm: 'sha256', bytes: createHash('sha256').update(bytes).digest() },
      },
      {
        async drain(take) {
          await take(bytes.subarray(0, TREE_BLOCK));
          await gate.promise;
          await take(bytes.subarray(TREE_BLOCK));
        },
      },
      never,
    );
    await send(rig, bytes);
    expect(rig.incoming.received.all.bytes).toBe(bytes.length);
    gate.resolve();
    expect(await slow).toBe(bytes.length);
  });
});

test('any cuts, in any order, with kills between them, give the same bytes and the same tree', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 3 * TREE_BLOCK + 500 }), { minLength: 1, maxLength: 8 }),
      fc.infiniteStream(fc.nat()),
      async (cuts, chances) => {
        await using rig = await makeRig();
        const bytes = Buffer.concat([
          randomBytes(TREE_BLOCK + 300),
          Buffer.alloc(TREE_BLOCK),
          randomBytes(TREE_BLOCK + 201),
        ]);
        const edges = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort(
          (a, b) => a - b,
        );
        const parts = edges.slice(1).map((end, i) => [edges[i] ?? 0, end] as const);
        parts.sort(() => ((chances.next().value ?? 0) % 2 === 0 ? 1 : -1));
        for (const [from, to] of parts) {
          const failAt = (chances.next().value ?? 0) % 3 === 0 ? 65_536 : undefined;
          const part = bytes.subarray(from, to);
          if (failAt !== undefined && part.length > failAt)
            await expect(send(rig, part, { offset: from, failAt })).rejects.toThrow('cut');
          if ((chances.next().value ?? 0) % 4 === 0) await rig.reopen();
          await send(rig, part, { offset: from });
        }
        expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
        expect((await stored(rig, bytes.length)).equals(bytes)).toBe(true);
      },
    ),
    { numRuns: 25 },
  );
});

test('after another boot of the machine, unsynced ranges are compared before they count', async () => {
  await using rig = await makeRig();
  const bytes = randomBytes(4 * TREE_BLOCK);
  await send(rig, bytes.subarray(0, TREE_BLOCK));
  await rig.incoming.sync();
  await send(rig, bytes.subarray(TREE_BLOCK), { offset: TREE_BLOCK });
  // What a power cut does to pages that were not written back.
  await rig.incoming.writer.write(Buffer.alloc(4096), 2 * TREE_BLOCK + 8192);
  await rig.reopen('two');
  expect([...rig.incoming.received.all]).toEqual([
    { offset: 0, length: 2 * TREE_BLOCK },
    { offset: 3 * TREE_BLOCK, length: TREE_BLOCK },
  ]);
  await send(rig, bytes);
  expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
});

test('what was discarded is missing, and its blocks have no leaf', async () => {
  await using rig = await makeRig();
  const bytes = randomBytes(3 * TREE_BLOCK);
  await send(rig, bytes);
  await rig.incoming.discard([{ offset: TREE_BLOCK, length: 10 }]);
  expect([...rig.incoming.received.all.missing({ offset: 0, length: bytes.length })]).toEqual([
    { offset: TREE_BLOCK, length: 10 },
  ]);
  await rig.reopen();
  const { leaves } = await rig.incoming.partialLeaves(bytes.length, { first: 0, count: 3 });
  expect([0, 1, 2].map((i) => leaves.known(i))).toEqual([true, false, true]);
  await send(rig, bytes.subarray(TREE_BLOCK, TREE_BLOCK + 10), { offset: TREE_BLOCK });
  expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
});

test('after a flush that failed, what came since the last good one is asked for again', async () => {
  await using rig = await makeRig();
  const bytes = randomBytes(2 * TREE_BLOCK);
  await send(rig, bytes.subarray(0, TREE_BLOCK));
  await rig.incoming.sync();
  await send(rig, bytes.subarray(TREE_BLOCK), { offset: TREE_BLOCK });
  const flush = rig.incoming.writer.flush.bind(rig.incoming.writer);
  rig.incoming.writer.flush = () => Promise.reject(new Error('EIO'));
  await expect(rig.incoming.sync()).rejects.toSatisfy((e) => isHawserError(e, 'store-failed'));
  await expect(send(rig, bytes, { offset: 2 * TREE_BLOCK })).rejects.toSatisfy((e) => isHawserError(e, 'store-failed'));
  rig.incoming.writer.flush = flush;
  await rig.reopen();
  expect([...rig.incoming.received.all]).toEqual([{ offset: 0, length: TREE_BLOCK }]);
  await send(rig, bytes);
  expect((await rig.incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
});

test('a body whose digest is wrong never spoils what another one of the same range was acknowledged for', async () => {
  await using rig = await makeRig();
  const later = async (ticks: number) => {
    for (let tick = 0; tick < ticks; tick++) await setImmediate();
  };
  for (let round = 0; round < 600; round++) {
    const offset = round * 64;
    const bytes = randomBytes(6);
    const digest = { algorithm: 'sha512', bytes: createHash('sha512').update(bytes).digest() } as const;
    const [good] = await Promise.allSettled([
      send(rig, bytes, { offset, digest }),
      later(round % 30).then(() => send(rig, randomBytes(6), { offset, digest })),
    ]);
    const range = { offset, length: 6 };
    // It is there if it was acknowledged, and if it is there it is right.
    if (good.status === 'fulfilled') expect(rig.incoming.received.all.contains(range)).toBe(true);
    if (!rig.incoming.received.all.contains(range)) continue;
    const there = Buffer.alloc(6);
    await rig.incoming.writer.read(there, offset);
    expect(there.equals(bytes)).toBe(true);
  }
  expect(rig.incoming.received.all.bytes).toBeGreaterThan(0);
});
