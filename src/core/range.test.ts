import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutAt, type Range, RangeSet } from './range.ts';

const SPAN = 64;
const rangeArbitrary = fc
  .tuple(fc.integer({ min: 0, max: SPAN }), fc.integer({ min: 0, max: 20 }))
  .map(([offset, length]): Range => ({ offset, length }));
const steps = fc.array(fc.record({ kind: fc.constantFrom('add', 'remove'), range: rangeArbitrary }), { maxLength: 40 });

/** The same set as plain booleans. */
function model(): boolean[] {
  return new Array<boolean>(SPAN + 32).fill(false);
}

describe('RangeSet', () => {
  test('does what a set of single bytes does, whatever is added and removed', () => {
    fc.assert(
      fc.property(steps, rangeArbitrary, (ops, probe) => {
        const set = new RangeSet();
        const bytes = model();
        for (const { kind, range } of ops) {
          let changed = 0;
          for (let i = range.offset; i < range.offset + range.length; i++) {
            if (bytes[i] !== (kind === 'add')) changed++;
            bytes[i] = kind === 'add';
          }
          expect(kind === 'add' ? set.add(range) : set.remove(range)).toBe(changed);
        }
        const found = model();
        let end = -1;
        for (const { offset, length } of set) {
          expect(length).toBeGreaterThan(0);
          expect(offset).toBeGreaterThan(end); // neighbours are merged
          end = offset + length;
          found.fill(true, offset, end);
        }
        expect(found).toEqual(bytes);
        expect(set.bytes).toBe(bytes.filter(Boolean).length);
        const wanted = bytes.slice(probe.offset, probe.offset + probe.length);
        expect(set.contains(probe)).toBe(wanted.every(Boolean));
        const inside = [...set.inside(probe)].reduce((sum, { length }) => sum + length, 0);
        const missing = [...set.missing(probe)].reduce((sum, { length }) => sum + length, 0);
        expect(inside).toBe(wanted.filter(Boolean).length);
        expect(inside + missing).toBe(probe.length);
      }),
      { numRuns: 500 },
    );
  });

  test('the missing parts, added, make it whole', () => {
    fc.assert(
      fc.property(fc.array(rangeArbitrary, { maxLength: 20 }), rangeArbitrary, (ranges, within) => {
        const set = RangeSet.of(ranges);
        for (const gap of [...set.missing(within)]) expect(set.add(gap)).toBe(gap.length);
        expect(set.contains(within)).toBe(true);
      }),
    );
  });
});

test('cutAt cuts at every multiple and loses nothing', () => {
  expect([...cutAt({ offset: 3, length: 10 }, 4)]).toEqual([
    { offset: 3, length: 1 },
    { offset: 4, length: 4 },
    { offset: 8, length: 4 },
    { offset: 12, length: 1 },
  ]);
  expect([...cutAt({ offset: 8, length: 0 }, 4)]).toEqual([]);
});
