import { describe, expect, onTestFinished, test as plainTest } from 'vitest';
import { HawserError } from '../../src/core/errors.ts';
import type { BlockWriter } from '../../src/stores/store.ts';
import {
  checkExtents,
  collect,
  contentOf,
  type Declare,
  expectBytes,
  expectCode,
  type Given,
  MiB,
  pattern,
  put,
  readBack,
  type StorePlace,
} from './store-content.ts';
import { modelTests } from './store-model.ts';

export interface ConformanceOptions {
  readonly make: () => Promise<StorePlace>;
  /** A Store of few MiB, `bytes` or a little more; for tests that fill it. */
  readonly makeSmall?: (bytes: number) => Promise<StorePlace>;
  /** How test cases are declared; `testWith(…)` where a component is needed. */
  readonly test?: Declare;
  /** `nothing`: bytes die with the process, and places need no `restart`. */
  readonly survives?: 'crashes' | 'nothing';
  /** Random sequences for the model test. */
  readonly runs?: number;
}

/** Everything that store.ts promises, for one driver, bare or in layers. */
export function storeConformance(name: string, options: ConformanceOptions): void {
  const test = options.test ?? plainTest;
  const given = async () => {
    const place = await options.make();
    onTestFinished(async () => place[Symbol.asyncDispose]());
    return place;
  };

  describe(`store conformance: ${name}`, () => {
    describe('keys and visibility', () => keyTests(test, given));
    describe('writing', () => writeTests(test, given));
    describe('zeros and extents', () => zeroTests(test, given));
    describe('sealing', () => sealTests(test, given));
    describe('ending without a seal', () => endTests(test, given));
    if (options.survives !== 'nothing') describe('crashes', () => crashTests(test, given));
    describe('concurrency', () => concurrencyTests(test, given));
    if (options.makeSmall !== undefined) spaceTests(test, options.makeSmall);
    modelTests(test, given, options.runs ?? 30);
  });
}

const badKeys = {
  'one level up': '../x',
  'a folder': 'a/b',
  'an absolute path': '/etc/passwd',
  'a backslash': 'a\\b',
  NUL: 'a\0b',
  'a NUL at the end': 'a\0',
  'a line end': 'a\n',
  '300 characters': 'k'.repeat(300),
  '201 characters': 'k'.repeat(201),
  hidden: '.hidden',
  'a dot': '.',
  'two dots': '..',
  empty: '',
  'an umlaut': 'größe',
  'a fullwidth slash': 'a\uff0fb',
  'right-to-left': 'a\u202eb',
  'a blank': 'a b',
  'a percent sign': '%2e%2e%2fx',
};

function keyTests(test: Declare, given: Given): void {
  for (const [what, key] of Object.entries(badKeys)) {
    test(`a key with ${what} is a bad request everywhere`, async () => {
      const { store } = await given();
      await expectCode('bad-request', store.create({ key }));
      await expectCode('bad-request', store.reopen(key));
      await expectCode('bad-request', store.open(key));
      await expectCode('bad-request', store.stat(key));
      await expectCode('bad-request', store.remove(key));
    });
  }

  for (const key of ['k', 'k'.repeat(200), 'A.b_c-9', '-', '-rf', '_', 'a..b', 'a.', 'con', '0']) {
    test(`the key ${key.slice(0, 10)} of ${key.length} is good`, async () => {
      const { store } = await given();
      await put(store, key, pattern(10, 1));
      expectBytes(await contentOf(store, key), pattern(10, 1));
    });
  }

  test('keys that differ in case are two keys', async () => {
    const { store } = await given();
    await put(store, 'key', pattern(5, 1));
    await put(store, 'KEY', pattern(5, 2));
    expectBytes(await contentOf(store, 'key'), pattern(5, 1));
    expectBytes(await contentOf(store, 'KEY'), pattern(5, 2));
  });

  test('what is not there is absent, cannot be opened, and is removed without complaint', async () => {
    const { store } = await given();
    expect(await store.stat('k')).toEqual({ kind: 'absent' });
    await expectCode('not-found', store.open('k'));
    await expectCode('not-found', store.reopen('k'));
    await store.remove('k');
  });

  test('nothing is visible before the seal, everything after it', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: MiB });
    await writer.write(pattern(MiB, 1), 0);
    await expectCode('not-found', store.open('k'));
    expect((await store.stat('k')).kind).toBe('writing');
    await writer.seal(MiB);
    const stat = await store.stat('k');
    expect(stat).toMatchObject({ kind: 'sealed', size: MiB });
    expect(stat.kind === 'sealed' && stat.storedSize).toBeGreaterThanOrEqual(MiB);
    await using reader = await store.open('k');
    expect(reader.size).toBe(MiB);
    expect(reader.fingerprint).toBe(stat.kind === 'sealed' ? stat.fingerprint : '');
  });

  test('a key is taken while it is written and once it is sealed', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await expectCode('already-exists', store.create({ key: 'k' }));
    await writer.write(pattern(9, 1), 0);
    await writer.seal(9);
    await expectCode('already-exists', store.create({ key: 'k' }));
    await expectCode('already-exists', store.reopen('k'));
    expectBytes(await contentOf(store, 'k'), pattern(9, 1));
  });

  test('a removed key is absent, may be used again, and has another fingerprint', async () => {
    const { store } = await given();
    await put(store, 'k', pattern(100, 1));
    await using old = await store.open('k');
    await store.remove('k');
    expect(await store.stat('k')).toEqual({ kind: 'absent' });
    await put(store, 'k', pattern(100, 2));
    expectBytes(await contentOf(store, 'k'), pattern(100, 2));
    await using now = await store.open('k');
    expect(now.fingerprint).not.toBe(old.fingerprint);
  });

  test('usage is of bytes, with free within capacity', async () => {
    const { store } = await given();
    const { capacity, free } = await store.usage();
    expect(Number.isSafeInteger(capacity) && Number.isSafeInteger(free)).toBe(true);
    expect(free).toBeGreaterThan(0);
    expect(free).toBeLessThanOrEqual(capacity);
  });
}

function writeTests(test: Declare, given: Given): void {
  test('parallel writes out of order, in pieces of any size, from shared memory', async () => {
    const { store } = await given();
    const size = 3 * MiB + 12_345;
    const wanted = pattern(size, 7);
    await using writer = await store.create({ key: 'k', size });
    const cuts = [0, 1, 511, 4096, 65_537, MiB - 1, MiB, MiB + 777, 2 * MiB + 3, 3 * MiB, size];
    const pieces = cuts.slice(1).map((end, i) => ({ start: cuts[i] ?? 0, end }));
    pieces.sort((a, b) => (a.start % 97) - (b.start % 97));
    await Promise.all(
      pieces.map(({ start, end }) => {
        const shared = new Uint8Array(new SharedArrayBuffer(end - start));
        shared.set(wanted.subarray(start, end));
        return writer.write(shared, start);
      }),
    );
    expectBytes(await readBack(writer, 0, size), wanted);
    await writer.seal(size);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('a view into a larger buffer writes and reads just that view', async () => {
    const { store } = await given();
    const large = pattern(3000, 5);
    await using writer = await store.create({ key: 'k' });
    await writer.write(large.subarray(1000, 2000), 10);
    const into = new Uint8Array(3000).fill(9);
    await writer.read(into.subarray(1000, 2010), 0);
    expectBytes(into.subarray(1010, 2010), large.subarray(1000, 2000));
    expect(into[999]).toBe(9);
    expect(into[2010]).toBe(9);
  });

  test('an object without a size grows, with zeros where nothing was written', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(100, 1), 5 * MiB);
    await writer.write(pattern(100, 2), 0);
    const wanted = new Uint8Array(5 * MiB + 100);
    wanted.set(pattern(100, 1), 5 * MiB);
    wanted.set(pattern(100, 2), 0);
    expectBytes(await readBack(writer, 0, wanted.length), wanted);
    await writer.seal(wanted.length);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('a declared size reads as zeros before anything is written', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 100_000 });
    expectBytes(await readBack(writer, 0, 100_000), new Uint8Array(100_000));
  });

  test('writing past the declared size grows', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 10 });
    await writer.write(pattern(100, 1), 5);
    await writer.seal(105);
    expectBytes((await contentOf(store, 'k')).subarray(5), pattern(100, 1));
  });

  test('a write may be repeated and changed until the seal', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(1000, 1), 0);
    await writer.write(pattern(1000, 1), 0);
    await writer.write(pattern(10, 2), 500);
    const wanted = pattern(1000, 1);
    wanted.set(pattern(10, 2), 500);
    expectBytes(await readBack(writer, 0, 1000), wanted);
  });

  test('empty writes, reads and zeros do nothing', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 10 });
    await writer.write(new Uint8Array(0), 0);
    await writer.zero({ offset: 0, length: 0 });
    await writer.write(new Uint8Array(0), 1000);
    await writer.zero({ offset: 1000, length: 0 });
    await expectCode('out-of-range', writer.read(new Uint8Array(1), 10));
    await writer.read(new Uint8Array(0), 10);
    await writer.seal(10);
    expectBytes(await contentOf(store, 'k'), new Uint8Array(10));
  });

  test('an offset that is none is out of range, and writes nothing', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 10 });
    for (const offset of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER]) {
      await expectCode('out-of-range', writer.write(pattern(5, 1), offset));
      await expectCode('out-of-range', writer.zero({ offset, length: 5 }));
    }
    await expectCode('out-of-range', writer.zero({ offset: 5, length: -1 }));
    expectBytes(await readBack(writer, 0, 10), new Uint8Array(10));
  });

  test('reading outside is out of range and leaves the buffer alone', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(100, 1), 0);
    const into = new Uint8Array(50).fill(9);
    await expectCode('out-of-range', writer.read(into, 51));
    await expectCode('out-of-range', writer.read(into, 1000));
    await expectCode('out-of-range', writer.read(into, -1));
    await writer.seal(100);
    await using reader = await store.open('k');
    await expectCode('out-of-range', reader.read(into, 51));
    await expectCode('out-of-range', reader.read(into, -1));
    await expectCode('out-of-range', collect(reader.extents({ offset: 50, length: 51 })));
    expectBytes(into, new Uint8Array(50).fill(9));
    await reader.read(into, 50);
    expectBytes(into, pattern(100, 1).subarray(50));
  });

  test('preallocated objects read as zeros and take what is written', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 2 * MiB, preallocate: true });
    const stat = await store.stat('k');
    expect(stat.kind === 'writing' && stat.storedSize).toBeGreaterThanOrEqual(2 * MiB);
    await writer.write(pattern(1000, 1), MiB);
    const wanted = new Uint8Array(2 * MiB);
    wanted.set(pattern(1000, 1), MiB);
    await writer.seal(2 * MiB);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('preallocating more than there is finds the Store full and leaves nothing', async () => {
    const { store } = await given();
    const { capacity } = await store.usage();
    await expectCode('store-full', store.create({ key: 'k', size: capacity * 2, preallocate: true }));
    expect(await store.stat('k')).toEqual({ kind: 'absent' });
  });

  test('resize cuts and adds zeros', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(200_000, 1), 0);
    await writer.resize(70_000);
    await expectCode('out-of-range', writer.read(new Uint8Array(1), 70_000));
    await writer.resize(150_000);
    const wanted = new Uint8Array(150_000);
    wanted.set(pattern(200_000, 1).subarray(0, 70_000));
    expectBytes(await readBack(writer, 0, 150_000), wanted);
    await writer.resize(0);
    await writer.seal(0);
    expectBytes(await contentOf(store, 'k'), new Uint8Array(0));
  });
}

function zeroTests(test: Declare, given: Given): void {
  test('zeros over data, cut anywhere, leave the neighbours', async () => {
    const { store } = await given();
    const size = 2 * MiB;
    const wanted = pattern(size, 3);
    await using writer = await store.create({ key: 'k', size });
    await writer.write(wanted, 0);
    for (const [offset, length] of [
      [0, 1],
      [100, 7],
      [4095, 2],
      [65_536, 65_536],
      [200_001, 500_003],
      [size - 1, 1],
    ] as const) {
      await writer.zero({ offset, length });
      wanted.fill(0, offset, offset + length);
    }
    expectBytes(await readBack(writer, 0, size), wanted);
    await writer.seal(size);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('zeros beyond the end grow the object', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(10_000, 1), 0);
    await writer.zero({ offset: 5_000, length: 300_000 });
    await writer.zero({ offset: 400_000, length: 100 });
    const wanted = new Uint8Array(400_100);
    wanted.set(pattern(10_000, 1).subarray(0, 5_000));
    expectBytes(await readBack(writer, 0, wanted.length), wanted);
    await writer.seal(wanted.length);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('a zeroed terabyte takes no time and no space', async () => {
    const { store } = await given();
    if (store.traits.unmap !== 'native') return;
    await using writer = await store.create({ key: 'k' });
    await writer.zero({ offset: 0, length: 1024 * 1024 * MiB });
    await writer.write(pattern(10, 1), 1024 * 1024 * MiB);
    const stat = await store.stat('k');
    expect(stat.kind === 'writing' && stat.storedSize).toBeLessThan(MiB);
  });

  test('zeroing gives space back where the Store says so', async () => {
    const { store } = await given();
    if (store.traits.unmap !== 'native') return;
    await using writer = await store.create({ key: 'k', size: 8 * MiB });
    await writer.write(pattern(8 * MiB, 1), 0);
    await writer.flush();
    await writer.zero({ offset: MiB, length: 6 * MiB });
    await writer.seal(8 * MiB);
    const stat = await store.stat('k');
    expect(stat.kind === 'sealed' && stat.storedSize).toBeLessThan(3 * MiB);
    expect(stat.kind === 'sealed' && stat.storedSize).toBeGreaterThanOrEqual(2 * MiB);
  });

  test('an aborted zero rejects with the reason, and the object can go on', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: MiB });
    await writer.write(pattern(MiB, 1), 0);
    const reason = new HawserError('paused', 'by a test');
    await expect(writer.zero({ offset: 0, length: MiB }, AbortSignal.abort(reason))).rejects.toBe(reason);
    expectBytes(await readBack(writer, 0, MiB), pattern(MiB, 1));
    await writer.zero({ offset: 0, length: MiB }, new AbortController().signal);
    expectBytes(await readBack(writer, 0, MiB), new Uint8Array(MiB));
  });

  test('extents are in order, without gaps, merged, cut to the range, and holes are zeros', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k', size: 64 * MiB });
    const wanted = new Uint8Array(64 * MiB);
    for (const at of [0, MiB, 10 * MiB, 32 * MiB + 5, 60 * MiB]) {
      await writer.write(pattern(MiB, at + 1), at);
      wanted.set(pattern(MiB, at + 1), at);
    }
    await writer.seal(64 * MiB);
    await using reader = await store.open('k');
    for (const [offset, end] of [
      [0, 64 * MiB],
      [MiB + 1, 33 * MiB + 1],
      [5 * MiB, 6 * MiB],
      [10 * MiB + 3, 10 * MiB + 4],
      [63 * MiB, 64 * MiB],
      [7, 7],
      [64 * MiB, 64 * MiB],
    ] as const) {
      const extents = await collect(reader.extents({ offset, length: end - offset }));
      checkExtents(extents, { offset, end }, wanted);
    }
    if (store.traits.extents !== 'native') return;
    const all = await collect(reader.extents({ offset: 0, length: 64 * MiB }));
    const data = all.reduce((sum, { kind, length }) => sum + (kind === 'data' ? length : 0), 0);
    expect(data).toBeGreaterThanOrEqual(5 * MiB);
    expect(data).toBeLessThan(6 * MiB);
    expect(all.map(({ kind }) => kind)).toEqual(['data', 'hole', 'data', 'hole', 'data', 'hole', 'data', 'hole']);
  });

  test('an object of nothing but a hole, and one of no bytes', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'hole', size: 10 * MiB });
    await writer.seal(10 * MiB);
    await using reader = await store.open('hole');
    const extents = await collect(reader.extents({ offset: 0, length: 10 * MiB }));
    checkExtents(extents, { offset: 0, end: 10 * MiB }, new Uint8Array(10 * MiB));
    if (store.traits.extents === 'native') expect(extents.map(({ kind }) => kind)).toEqual(['hole']);
    await put(store, 'empty', new Uint8Array(0));
    await using empty = await store.open('empty');
    expect(empty.size).toBe(0);
    expect(await collect(empty.extents({ offset: 0, length: 0 }))).toEqual([]);
  });
}

function sealTests(test: Declare, given: Given): void {
  test('a clone has the same bytes and holes, and a life of its own', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'a' });
    await writer.write(pattern(300_000, 1), 0);
    await writer.write(pattern(70_001, 2), 5_000_000);
    await expectCode('not-found', store.clone('a', 'b'));
    await writer.seal(6_000_000);
    const wanted = await contentOf(store, 'a');
    await store.clone('a', 'b');
    expectBytes(await contentOf(store, 'b'), wanted);
    await expectCode('already-exists', store.clone('a', 'b'));
    await expectCode('not-found', store.clone('nothing', 'c'));
    await expectCode('bad-request', store.clone('a', '../c'));
    await store.remove('a');
    expectBytes(await contentOf(store, 'b'), wanted);
    const stat = await store.stat('b');
    if (store.traits.extents === 'native')
      expect(stat).toSatisfy(() => stat.kind === 'sealed' && stat.storedSize < 5_000_000);
    expect(await store.stat('c')).toEqual({ kind: 'absent' });
  });

  test('sealing smaller cuts, sealing larger adds zeros', async () => {
    const { store } = await given();
    for (const size of [0, 1, 70_000, 100_000, 250_000]) {
      const key = `k${size}`;
      await using writer = await store.create({ key, size: 100_000 });
      await writer.write(pattern(100_000, 1), 0);
      await writer.seal(size);
      const wanted = new Uint8Array(size);
      wanted.set(pattern(100_000, 1).subarray(0, size));
      expectBytes(await contentOf(store, key), wanted);
    }
  });

  test('a seal happens once: repeated with the same size it is done already, with another it is a conflict', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(100, 1), 0);
    await writer.seal(100);
    const before = await store.stat('k');
    await writer.seal(100);
    await expectCode('conflict', writer.seal(99));
    expect(await store.stat('k')).toEqual(before);
  });

  test('nothing changes a sealed object', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(100, 1), 0);
    await writer.seal(100);
    const before = await store.stat('k');
    await expectCode('conflict', writer.write(pattern(10, 2), 0));
    await expectCode('conflict', writer.zero({ offset: 0, length: 10 }));
    await expectCode('conflict', writer.zero({ offset: 200, length: 10 }));
    await expectCode('conflict', writer.resize(5));
    await expectCode('conflict', writer.discard());
    expect(await store.stat('k')).toEqual(before);
    expectBytes(await contentOf(store, 'k'), pattern(100, 1));
  });

  test('a hundred seals at once are one', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await writer.write(pattern(1000, 1), 0);
    await Promise.all(Array.from({ length: 100 }, () => writer.seal(1000)));
    expectBytes(await contentOf(store, 'k'), pattern(1000, 1));
  });
}

function endTests(test: Declare, given: Given): void {
  test('discard removes what was written; the key is free again', async () => {
    const { store } = await given();
    const writer = await store.create({ key: 'k' });
    await writer.write(pattern(100, 1), 0);
    await writer.discard();
    await writer.discard();
    expect(await store.stat('k')).toEqual({ kind: 'absent' });
    await expectCode('conflict', writer.write(pattern(1, 1), 0));
    await expectCode('conflict', writer.seal(100));
    await put(store, 'k', pattern(50, 2));
    await writer[Symbol.asyncDispose]();
    expectBytes(await contentOf(store, 'k'), pattern(50, 2));
  });

  test('dispose keeps what was written for reopen', async () => {
    const { store } = await given();
    {
      await using writer = await store.create({ key: 'k', size: 300_000 });
      await writer.write(pattern(100_000, 1), 0);
    }
    expect((await store.stat('k')).kind).toBe('writing');
    await expectCode('already-exists', store.create({ key: 'k' }));
    await expectCode('not-found', store.open('k'));
    await using again = await store.reopen('k');
    expectBytes(await readBack(again, 0, 100_000), pattern(100_000, 1));
    expectBytes(await readBack(again, 100_000, 200_000), new Uint8Array(200_000));
    await again.write(pattern(200_000, 2), 100_000);
    await again.seal(300_000);
    expectBytes((await contentOf(store, 'k')).subarray(100_000), pattern(200_000, 2));
  });

  test('a closed writer or reader refuses, and closing twice is nothing', async () => {
    const { store } = await given();
    const writer = await store.create({ key: 'k', size: 10 });
    await writer[Symbol.asyncDispose]();
    await writer[Symbol.asyncDispose]();
    await expectCode('conflict', writer.write(pattern(1, 1), 0));
    await expectCode('conflict', writer.read(new Uint8Array(1), 0));
    await expectCode('conflict', writer.zero({ offset: 0, length: 1 }));
    await expectCode('conflict', writer.flush());
    await expectCode('conflict', writer.seal(10));
    await expectCode('conflict', writer.discard());
    expect((await store.stat('k')).kind).toBe('writing');
    await put(store, 'j', pattern(10, 1));
    const reader = await store.open('j');
    await reader[Symbol.asyncDispose]();
    await reader[Symbol.asyncDispose]();
    await expectCode('conflict', reader.read(new Uint8Array(1), 0));
    await expectCode('conflict', collect(reader.extents({ offset: 0, length: 10 })));
  });

  test('a key with an open writer cannot be reopened', async () => {
    const { store } = await given();
    await using writer = await store.create({ key: 'k' });
    await expectCode('in-use', store.reopen('k'));
    await writer.write(pattern(5, 1), 0);
    await writer.seal(5);
  });

  test('removing a key ends its writer, which cannot seal what comes after', async () => {
    const { store } = await given();
    await using old = await store.create({ key: 'k' });
    await old.write(pattern(100, 1), 0);
    await store.remove('k');
    expect(await store.stat('k')).toEqual({ kind: 'absent' });
    await using now = await store.create({ key: 'k' });
    await now.write(pattern(100, 2), 0);
    await expectCode('conflict', old.seal(100));
    await expectCode('conflict', old.write(pattern(1, 3), 0));
    await old.discard();
    expect((await store.stat('k')).kind).toBe('writing');
    await now.seal(100);
    expectBytes(await contentOf(store, 'k'), pattern(100, 2));
  });
}

function crashTests(test: Declare, given: Given): void {
  test('after a crash everything written is there, and sealed is sealed', async () => {
    const { store, restart } = await given();
    if (restart === undefined) throw new Error('this place cannot restart: declare it with survives: "nothing"');
    const hanging = await store.create({ key: 'k', size: MiB });
    onTestFinished(async () => hanging[Symbol.asyncDispose]());
    await hanging.write(pattern(MiB / 2, 1), 0);
    const grown = await store.create({ key: 'grown' });
    onTestFinished(async () => grown[Symbol.asyncDispose]());
    await grown.write(pattern(1000, 4), 5000);
    await put(store, 'done', pattern(10, 3));
    const after = await restart();
    onTestFinished(async () => after.close());
    expectBytes(await contentOf(after, 'done'), pattern(10, 3));
    await expectCode('already-exists', after.create({ key: 'k' }));
    await using again = await after.reopen('k');
    expectBytes(await readBack(again, 0, MiB / 2), pattern(MiB / 2, 1));
    await again.write(pattern(MiB / 2, 2), MiB / 2);
    await again.seal(MiB);
    expectBytes((await contentOf(after, 'k')).subarray(MiB / 2), pattern(MiB / 2, 2));
    await using more = await after.reopen('grown');
    expectBytes(await readBack(more, 5000, 1000), pattern(1000, 4));
    await expectCode('out-of-range', more.read(new Uint8Array(1), 6000));
  });
}

function concurrencyTests(test: Declare, given: Given): void {
  test('of twenty creates of one key one wins', async () => {
    const { store } = await given();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => store.create({ key: 'k' })));
    const won = results.filter((result) => result.status === 'fulfilled');
    expect(won.length).toBe(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'already-exists' });
    }
    await won[0]?.value.discard();
  });

  test('of ten reopens of one key one wins', async () => {
    const { store } = await given();
    await (await store.create({ key: 'k' }))[Symbol.asyncDispose]();
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => store.reopen('k')));
    const won = results.filter((result) => result.status === 'fulfilled');
    expect(won.length).toBe(1);
    await won[0]?.value[Symbol.asyncDispose]();
  });

  test('writes and zeros that grow the object side by side lose nothing', async () => {
    const { store } = await given();
    const piece = 10_000;
    await using writer = await store.create({ key: 'k' });
    const wanted = new Uint8Array(60 * piece);
    const steps = Array.from({ length: 60 }, (_, i) => (i * 37) % 60);
    await Promise.all(
      steps.map((i) => {
        if (i % 3 === 0) return writer.zero({ offset: i * piece, length: piece });
        wanted.set(pattern(piece, i + 1), i * piece);
        return writer.write(pattern(piece, i + 1), i * piece);
      }),
    );
    await writer.seal(wanted.length);
    expectBytes(await contentOf(store, 'k'), wanted);
  });

  test('a write beside a seal or a dispose is whole or refused', async () => {
    const { store } = await given();
    const begin = (writer: BlockWriter) =>
      [0, 1, 2].map((i) => writer.write(pattern(MiB, i + 1), i * MiB).then(() => [i], refused));
    const refused = (error: unknown): readonly number[] => {
      expect(error).toMatchObject({ code: 'conflict' });
      return [];
    };
    await using writer = await store.create({ key: 'k', size: 3 * MiB });
    const written = begin(writer);
    await writer.seal(3 * MiB);
    const content = await contentOf(store, 'k');
    for (const i of (await Promise.all(written)).flat()) {
      expectBytes(content.subarray(i * MiB, (i + 1) * MiB), pattern(MiB, i + 1));
    }
    const other = await store.create({ key: 'j', size: 3 * MiB });
    const pending = begin(other);
    await other[Symbol.asyncDispose]();
    await using again = await store.reopen('j');
    for (const i of (await Promise.all(pending)).flat()) {
      expectBytes(await readBack(again, i * MiB, MiB), pattern(MiB, i + 1));
    }
  });

  test('many objects at once', async () => {
    const { store } = await given();
    await Promise.all(Array.from({ length: 30 }, (_, i) => put(store, `k${i}`, pattern(50_000, i))));
    const found = await Promise.all(Array.from({ length: 30 }, (_, i) => contentOf(store, `k${i}`)));
    found.forEach((content, i) => {
      expectBytes(content, pattern(50_000, i));
    });
  });

  test('reads and extents of one reader side by side', async () => {
    const { store } = await given();
    const wanted = pattern(2 * MiB, 1);
    await put(store, 'k', wanted);
    await using reader = await store.open('k');
    const parts = await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        const into = new Uint8Array(100_000);
        await Promise.all([reader.read(into, i * 100_003), collect(reader.extents({ offset: 0, length: 2 * MiB }))]);
        return into;
      }),
    );
    parts.forEach((part, i) => {
      expectBytes(part, wanted.subarray(i * 100_003, i * 100_003 + 100_000));
    });
  });
}

function spaceTests(test: Declare, makeSmall: (bytes: number) => Promise<StorePlace>): void {
  test('a full Store says so, keeps what it has, and takes more once there is room', async () => {
    const place = await makeSmall(24 * MiB);
    onTestFinished(async () => place[Symbol.asyncDispose]());
    const { store } = place;
    await put(store, 'first', pattern(8 * MiB, 1));
    let written = 0;
    {
      await using writer = await store.create({ key: 'k', size: 400 * MiB });
      const fill = async () => {
        for (; written < 400; written++) await writer.write(pattern(MiB, written + 1), written * MiB);
      };
      await expectCode('store-full', fill());
      expect(written).toBeGreaterThan(4);
      expectBytes(await readBack(writer, (written - 1) * MiB, MiB), pattern(MiB, written));
      expectBytes(await contentOf(store, 'first'), pattern(8 * MiB, 1));
      await expectCode('store-full', store.create({ key: 'p', size: 20 * MiB, preallocate: true }));
      await store.remove('first');
      await fill().catch(() => {});
      expect(written).toBeGreaterThan(8);
      await writer.seal(written * MiB);
    }
    {
      await using reader = await store.open('k');
      for (let i = 0; i < written; i++) expectBytes(await readBack(reader, i * MiB, MiB), pattern(MiB, i + 1));
    }
    await store.remove('k');
    await put(store, 'next', pattern(8 * MiB, 9));
    expectBytes(await contentOf(store, 'next'), pattern(8 * MiB, 9));
  });
}
