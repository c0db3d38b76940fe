import { describe, expect, it } from 'vitest';
import { cellsOf, without } from './map-cells.ts';

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
