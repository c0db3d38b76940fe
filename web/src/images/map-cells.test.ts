import { describe, expect, it } from 'vitest';
import { cellsOf, condensed, without } from './map-cells.ts';

describe('the map of bytes', () => {
  it('gives each cell its share', () => {
    const cells = cellsOf(
      [
        { offset: 0, length: 15, kind: 'data' },
        { offset: 15, length: 10, kind: 'zero' },
      ],
      40,
      4,
    );
    expect(cells).toEqual([
      { data: 1, zero: 0 },
      { data: 0.5, zero: 0.5 },
      { data: 0, zero: 0.5 },
      { data: 0, zero: 0 },
    ]);
  });

  it('is empty for nothing', () => {
    expect(cellsOf([], 0, 2)).toEqual([
      { data: 0, zero: 0 },
      { data: 0, zero: 0 },
    ]);
  });

  it('takes zeros out of what was received', () => {
    const received = [
      { offset: 0, length: 10 },
      { offset: 20, length: 10 },
    ];
    const zeros = [
      { offset: 2, length: 3 },
      { offset: 8, length: 2 },
      { offset: 20, length: 10 },
    ];
    expect(without(received, zeros)).toEqual([
      { offset: 0, length: 2 },
      { offset: 5, length: 3 },
    ]);
  });
});

it('a page of many extents becomes few runs, with exact sums and the same picture', () => {
  const size = 2 ** 40;
  const step = 2 ** 26;
  const extents = Array.from({ length: 10_000 }, (_, i) => [
    { offset: i * step, length: 4096, kind: 'data' as const },
    { offset: i * step + 4096, length: step - 4096, kind: 'hole' as const },
  ]).flat();
  const half = Array.from({ length: 10_000 }, (_, i) => ({ offset: i * 8192, length: 4096, kind: 'data' as const }));
  const sparse = condensed({ size, extents, next: 10_000 * step });
  expect(sparse).toMatchObject({ dataBytes: 10_000 * 4096, next: 10_000 * step });
  const dense = condensed({ size: 10_000 * 8192, extents: half, next: null });
  expect(dense.dataBytes).toBe(10_000 * 4096);
  expect(condensed({ size: 2 ** 40, extents: half, next: null }).runs.length).toBeLessThan(10);
  for (const cell of cellsOf(dense.runs, dense.size, 100)) expect(cell.data).toBeCloseTo(0.5, 1);
});
