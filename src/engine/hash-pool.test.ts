import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { HashPool } from './hash-pool.ts';
import { SlabPool } from './slab-pool.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

test('slabs of different pools are never taken for each other', async () => {
  await using hashes = new HashPool(1);
  for (const pool of [new SlabPool(1), new SlabPool(1)]) {
    const slab = await pool.acquire();
    randomBytes(1000).copy(slab.bytes);
    expect(await hashes.leaf(slab, 0, 1000)).toEqual(sha256(slab.bytes.subarray(0, 1000)));
  }
});

test('a stream is in order, and zeros count without a buffer', async () => {
  await using hashes = new HashPool(2);
  const slab = await new SlabPool(1).acquire();
  randomBytes(300).copy(slab.bytes);
  const stream = hashes.stream('sha512');
  await Promise.all([stream.update(slab, 0, 100), stream.zeros(3_000_000), stream.update(slab, 100, 300)]);
  const whole = Buffer.concat([slab.bytes.subarray(0, 100), Buffer.alloc(3_000_000), slab.bytes.subarray(100, 300)]);
  expect(await stream.digest()).toEqual(createHash('sha512').update(whole).digest());
  await expect(stream.update(slab, 0, 1)).rejects.toThrow('not open');
});

test('a stream that begins with zeros, or is nothing else, has the digest of its bytes', async () => {
  await using hashes = new HashPool(2);
  const [zeros, data] = [await new SlabPool(1).acquire(), await new SlabPool(1).acquire()];
  zeros.bytes.fill(0);
  randomBytes(500).copy(data.bytes);
  const digestOf = async (...slabs: (typeof zeros)[]) => {
    const stream = hashes.stream('sha512');
    await Promise.all(slabs.map((slab) => stream.update(slab, 0, 1000)));
    const digest = await stream.digest();
    await expect(stream.update(zeros, 0, 1000)).rejects.toThrow('not open');
    stream.drop();
    return digest;
  };
  data.bytes.fill(0, 500, 1000);
  for (const slabs of [
    [],
    [zeros],
    [zeros, zeros],
    [zeros, zeros],
    [zeros, data],
    [data, zeros],
    [zeros, data, zeros],
  ]) {
    const whole = Buffer.concat(slabs.map(({ bytes }) => bytes.subarray(0, 1000)));
    expect(await digestOf(...slabs)).toEqual(createHash('sha512').update(whole).digest());
  }
});

test('a pool of slabs is never larger than it may be, and who waits comes in order', async () => {
  const pool = new SlabPool(2);
  const [a, b] = [await pool.acquire(), await pool.acquire()];
  expect(pool.tryAcquire()).toBeUndefined();
  const order: number[] = [];
  const first = pool.acquire().then((slab) => {
    order.push(1);
    return slab;
  });
  const stop = new AbortController();
  const given = pool.acquire(stop.signal);
  const third = pool.acquire().then((slab) => {
    order.push(3);
    return slab;
  });
  expect(pool.contended).toBe(true);
  stop.abort(new Error('enough'));
  await expect(given).rejects.toThrow('enough');
  pool.release(a);
  pool.release(b);
  expect([await first, await third]).toEqual([a, b]);
  expect(order).toEqual([1, 3]);
});
