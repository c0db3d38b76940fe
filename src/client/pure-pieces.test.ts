import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backoffMs } from '../core/backoff.ts';
import { TREE_BLOCK } from '../core/digest.ts';
import { type Range, RangeSet, rangeEnd } from '../core/range.ts';
import { Acknowledged } from './acknowledged.ts';
import { ChunkSizer } from './chunk-sizer.ts';
import type { FileSource, SourceExtent } from './ports.ts';
import { errorOfAnswer } from './problem.ts';
import { RateEstimator } from './rate-estimator.ts';
import { cutSource, readCut } from './source-cuts.ts';
import { isZero } from './zero-test.ts';

const MiB = TREE_BLOCK;
const KiB = 1024;

describe('backoff', () => {
  test('doubles up to its cap and never leaves half of it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempt, chance) => {
          const full = Math.min(30_000, 500 * 2 ** (attempt - 1));
          const wait = backoffMs(attempt, () => chance);
          expect(wait).toBeGreaterThanOrEqual(full / 2);
          expect(wait).toBeLessThanOrEqual(full);
        },
      ),
    );
  });
});

describe('the size of a chunk', () => {
  test('grows while requests are quick, up to what was asked for', () => {
    const sizer = new ChunkSizer(8 * MiB);
    expect(sizer.current).toBe(MiB);
    for (let i = 0; i < 5; i++) sizer.succeeded(sizer.current, 10);
    expect(sizer.current).toBe(8 * MiB);
  });

  test('stays below what was refused, for good', () => {
    const sizer = new ChunkSizer(64 * MiB);
    const limit = 20 * MiB;
    for (let i = 0; i < 50; i++) {
      if (sizer.current > limit) sizer.refused(sizer.current);
      else sizer.succeeded(sizer.current, 10);
    }
    expect(sizer.current).toBe(16 * MiB);
  });

  test('goes down to 256 KiB when even 1 MiB is refused', () => {
    const sizer = new ChunkSizer(8 * MiB);
    sizer.refused(MiB);
    expect(sizer.current).toBe(512 * KiB);
    sizer.refused(512 * KiB);
    expect(sizer.current).toBe(256 * KiB);
    expect(sizer.smallest).toBe(true);
  });

  test('on a slow line a request ends long before a proxy of 90 s loses patience', () => {
    const sizer = new ChunkSizer(16 * MiB);
    const bytesPerSecond = 60 * KiB;
    let longest = 0;
    for (let i = 0; i < 100; i++) {
      const seconds = sizer.current / bytesPerSecond;
      longest = Math.max(longest, seconds);
      sizer.succeeded(sizer.current, seconds * 1000);
    }
    expect(longest).toBeLessThan(30);
  });

  test('one slow answer counts once, however many lanes report it', () => {
    const sizer = new ChunkSizer(8 * MiB);
    for (let i = 0; i < 5; i++) sizer.succeeded(sizer.current, 10);
    for (let i = 0; i < 4; i++) sizer.stalled(8 * MiB);
    expect(sizer.current).toBe(4 * MiB);
  });
});

describe('speed and time left', () => {
  test('follow the last seconds only', () => {
    const rate = new RateEstimator(10_000);
    for (let second = 0; second <= 60; second++)
      rate.add(second * 1000, second <= 40 ? second * 100 : 4000 + (second - 40) * 10);
    expect(rate.rate(60_000)).toBeCloseTo(10, 0);
    expect(rate.secondsLeft(60_000, 4300)).toBeCloseTo(10, 0);
  });

  test('fall to nothing while nothing moves', () => {
    const rate = new RateEstimator(10_000);
    rate.add(0, 0);
    rate.add(1000, 1000);
    for (let second = 2; second < 40; second++) rate.add(second * 1000, 1000);
    expect(rate.rate(40_000)).toBe(0);
    expect(rate.secondsLeft(40_000, 2000)).toBeNull();
  });
});

describe('the cuts of a source', () => {
  test('cover exactly what was wanted, in whole blocks, and read exactly the data', async () => {
    const runs = fc.array(fc.record({ data: fc.boolean(), length: fc.integer({ min: 1, max: 3 * MiB }) }), {
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(runs, fc.integer({ min: 1, max: 4 }), fc.nat(), fc.nat(), async (made, blocks, a, b) => {
        const extents = laidOut(made);
        const size = extents.reduce((sum, extent) => sum + extent.length, 0);
        const from = size === 0 ? 0 : a % size;
        const wanted = { offset: from, length: Math.min(b, size - from) };
        const source = sourceOf(size, extents);
        const most = blocks * MiB;
        let at = Math.floor(wanted.offset / MiB) * MiB;
        const read = new RangeSet();
        for await (const cut of cutSource(source, wanted, most)) {
          expect(cut.range.offset).toBe(at);
          expect(cut.range.length).toBeGreaterThan(0);
          expect(rangeEnd(cut.range) % MiB === 0 || rangeEnd(cut.range) === size).toBe(true);
          at = rangeEnd(cut.range);
          if (cut.kind === 'hole') expect([...dataIn(extents, cut.range)]).toEqual([]);
          else {
            expect(cut.range.length).toBeLessThanOrEqual(most);
            for (const range of cut.reads) read.add(range);
            expect([...RangeSet.of(cut.reads)]).toEqual([...RangeSet.of(dataIn(extents, cut.range))]);
          }
        }
        expect(at).toBe(
          wanted.length === 0
            ? Math.floor(wanted.offset / MiB) * MiB
            : Math.min(size, Math.ceil(rangeEnd(wanted) / MiB) * MiB),
        );
      }),
    );
  });

  test('reading one clears what is a hole, whatever lay in the buffer', async () => {
    const source = sourceOf(MiB, [
      { kind: 'hole', offset: 0, length: 1000 },
      { kind: 'data', offset: 1000, length: 5 },
      { kind: 'hole', offset: 1005, length: MiB - 1005 },
    ]);
    const buffer = new Uint8Array(MiB).fill(9);
    await readCut(source, { range: { offset: 0, length: MiB }, reads: [{ offset: 1000, length: 5 }] }, buffer);
    expect([...buffer.subarray(998, 1007)]).toEqual([0, 0, 1, 1, 1, 1, 1, 0, 0]);
    expect(isZero(buffer.subarray(0, 1000)) && isZero(buffer.subarray(1005))).toBe(true);
  });
});

test('a test for zeros finds one bit anywhere, at any alignment', () => {
  fc.assert(
    fc.property(fc.nat(7), fc.integer({ min: 0, max: 100 }), fc.nat(), fc.nat(7), (start, length, where, bit) => {
      const bytes = new Uint8Array(new ArrayBuffer(128), start, length);
      expect(isZero(bytes)).toBe(true);
      if (length === 0) return;
      bytes[where % length] = 1 << bit;
      expect(isZero(bytes)).toBe(false);
    }),
  );
});

test('a question put while another is open is put again, and keeps what came meanwhile', async () => {
  const acknowledged = new Acknowledged();
  const answers: ((ranges: readonly Range[]) => void)[] = [];
  const ask = () => new Promise<readonly Range[]>((resolve) => answers.push(resolve));
  const first = acknowledged.refresh(ask);
  const second = acknowledged.refresh(ask);
  const third = acknowledged.refresh(ask);
  expect(second).toBe(third);
  acknowledged.add({ offset: 10, length: 5 });
  answers[0]?.([{ offset: 0, length: 5 }]);
  await first;
  expect(acknowledged.contains({ offset: 10, length: 5 })).toBe(true);
  expect(acknowledged.contains({ offset: 0, length: 5 })).toBe(true);
  await Promise.resolve();
  answers[1]?.([{ offset: 0, length: 3 }]);
  await second;
  expect(answers.length).toBe(2);
  expect(acknowledged.bytes).toBe(3);
});

describe('an answer that is an error', () => {
  test('from Hawser keeps its code, its next step and its number', () => {
    const body = JSON.stringify({
      type: 'about:blank',
      title: 'The store is full',
      status: 507,
      detail: 'No room.',
      code: 'store-full',
      next: 'Remove something.',
      retryable: true,
      requestId: 'r-7',
    });
    const error = errorOfAnswer({ status: 507, body, url: 'http://h/x' });
    expect(error).toMatchObject({
      code: 'store-full',
      message: 'No room.',
      details: { next: 'Remove something.', requestId: 'r-7' },
    });
  });

  test('from a proxy is told from ours, without its markup', () => {
    const error = errorOfAnswer({ status: 502, body: '<html><h1>502 Bad Gateway</h1></html>', url: 'http://h/x' });
    expect(error).toMatchObject({ code: 'unavailable', details: { foreign: true } });
    expect(error.message).toContain('502 Bad Gateway');
    expect(error.message).not.toContain('<');
  });
});

function laidOut(runs: readonly { readonly data: boolean; readonly length: number }[]): SourceExtent[] {
  let offset = 0;
  return runs.map(({ data, length }) => {
    const extent: SourceExtent = { kind: data ? 'data' : 'hole', offset, length };
    offset += length;
    return extent;
  });
}

function dataIn(extents: readonly SourceExtent[], within: Range): Range[] {
  const data = RangeSet.of(extents.filter(({ kind }) => kind === 'data'));
  return [...data.inside(within)];
}

/** Data is ones. */
function sourceOf(size: number, extents: readonly SourceExtent[]): FileSource {
  return {
    kind: 'file',
    size,
    fingerprint: 'test',
    read: async (into) => void into.fill(1),
    async *extents(range) {
      for (const extent of extents) {
        const offset = Math.max(extent.offset, range.offset);
        const length = Math.min(rangeEnd(extent), rangeEnd(range)) - offset;
        if (length > 0) yield { kind: extent.kind, offset, length };
      }
    },
  };
}
