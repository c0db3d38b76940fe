import { createHash, randomBytes } from 'node:crypto';
import { createBLAKE2b } from 'hash-wasm';
import { expect, test } from 'vitest';
import type { Device, DeviceExtent } from '../stores/device.ts';
import { Blkhash, type BlkhashAlgorithm } from './blkhash.ts';
import { SlabPool } from './slab-pool.ts';

const MiB = 1024 * 1024;

/** Bytes in memory, with extents of zeros as given; counts what is read. */
class Bytes implements Pick<Device, 'read' | 'extents'> {
  readonly content: Buffer;
  readonly #extents: readonly DeviceExtent[];
  bytesRead = 0;

  constructor(content: Buffer, extents: readonly DeviceExtent[] = []) {
    this.content = content;
    this.#extents = extents.length > 0 ? extents : [{ offset: 0, length: content.length, zero: false, hole: false }];
  }

  async read(into: Buffer, offset: number): Promise<void> {
    this.bytesRead += into.length;
    this.content.copy(into, 0, offset);
  }

  async *extents() {
    yield* this.#extents;
  }
}

async function expected(content: Buffer, blockSize: number): Promise<string> {
  const outer = await createBLAKE2b(256);
  const inner = await createBLAKE2b(256);
  outer.init();
  for (let at = 0; at < content.length; at += blockSize) {
    outer.update(
      inner
        .init()
        .update(content.subarray(at, at + blockSize))
        .digest('binary'),
    );
  }
  return outer.digest('hex');
}

async function digest(
  bytes: Bytes,
  blockSize = 4 * MiB,
  algorithm: BlkhashAlgorithm = 'blake2b',
  size = bytes.content.length,
) {
  await using blkhash = new Blkhash(2);
  const slabs = new SlabPool(3);
  let told = 0;
  const found = await blkhash.digest(
    { device: bytes, size, algorithm, blockSize, slabs, onBytes: (count) => (told += count) },
    new AbortController().signal,
  );
  expect([told, slabs.inUse]).toEqual([size, 0]);
  return found;
}

test('the digest of a block of 4 MiB of zeros is the one that is known', async () => {
  const hash = await createBLAKE2b(256);
  expect(
    hash
      .init()
      .update(Buffer.alloc(4 * MiB))
      .digest('hex'),
  ).toBe('4b78491340f5f499c8cb365e807455b47d2c05bc362def5ab9a2505a142710f4');
});

test.each([1, MiB - 1, MiB, 4 * MiB, 4 * MiB + 1, 13 * MiB + 12_345])(
  'of %i bytes, in blocks of every size',
  async (size) => {
    const content = randomBytes(size);
    for (const blockSize of [MiB, 4 * MiB, 16 * MiB]) {
      expect(await digest(new Bytes(content), blockSize)).toBe(await expected(content, blockSize));
    }
  },
);

test('zeros that the device knows are not read, and change nothing', async () => {
  const content = Buffer.alloc(40 * MiB);
  randomBytes(3 * MiB).copy(content, 5 * MiB + 100);
  const known = new Bytes(content, [
    { offset: 0, length: 5 * MiB, zero: true, hole: true },
    { offset: 5 * MiB, length: 4 * MiB, zero: false, hole: false },
    { offset: 9 * MiB, length: 31 * MiB, zero: true, hole: false },
  ]);
  expect(await digest(known)).toBe(await expected(content, 4 * MiB));
  expect(known.bytesRead).toBe(4 * MiB);
  expect(await digest(new Bytes(content))).toBe(await expected(content, 4 * MiB));
});

test('only so many bytes as are asked for', async () => {
  const content = randomBytes(9 * MiB);
  expect(await digest(new Bytes(content), 4 * MiB, 'blake2b', 5 * MiB)).toBe(
    await expected(content.subarray(0, 5 * MiB), 4 * MiB),
  );
});

test('by another algorithm, with its own length', async () => {
  const content = randomBytes(5 * MiB);
  const outer = createHash('sha256');
  for (const at of [0, 4 * MiB])
    outer.update(
      createHash('sha256')
        .update(content.subarray(at, at + 4 * MiB))
        .digest(),
    );
  expect(await digest(new Bytes(content), 4 * MiB, 'sha256')).toBe(outer.digest('hex'));
  expect(await digest(new Bytes(content), 4 * MiB, 'sha3_512')).toHaveLength(128);
});

test('an abort ends it, gives every buffer back, and the next one is right', async () => {
  await using blkhash = new Blkhash(2);
  const slabs = new SlabPool(3);
  const bytes = new Bytes(randomBytes(32 * MiB));
  const stop = new AbortController();
  const request = { device: bytes, size: 32 * MiB, algorithm: 'blake2b', blockSize: MiB, slabs } as const;
  const onBytes = () => stop.abort(new Error('enough'));
  await expect(blkhash.digest({ ...request, onBytes }, stop.signal)).rejects.toThrow('enough');
  const found = await blkhash.digest({ ...request, onBytes: () => {} }, new AbortController().signal);
  expect(found).toBe(await expected(bytes.content, MiB));
  expect(slabs.inUse).toBe(0);
});

test('an image of zeros that is larger than any disk takes no time', async () => {
  const size = 2 ** 40;
  const nothing = new Bytes(Buffer.alloc(0), [{ offset: 0, length: size, zero: true, hole: true }]);
  expect(await digest(nothing, 16 * MiB, 'blake2b', size)).toHaveLength(64);
  expect(nothing.bytesRead).toBe(0);
});
