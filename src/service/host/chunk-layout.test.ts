import { expect, test } from 'vitest';
import { ChunkLayout } from './chunk-layout.ts';

function layoutOf(sizes: Readonly<Record<number, number>>, total: number | null = null): ChunkLayout {
  const layout = new ChunkLayout();
  layout.setTotal(total);
  for (const [index, size] of Object.entries(sizes)) layout.set(Number(index), size);
  return layout;
}

test('a chunk lies where the sizes of all before it end, however different they are', () => {
  const layout = layoutOf({ 0: 5, 1: 3, 2: 9, 3: 1 });
  expect([0, 1, 2, 3].map((index) => layout.offsetOf(index))).toEqual([0, 5, 8, 17]);
  expect(layout.endOf(4)).toBe(18);
});

test('equal sizes tell the place of a chunk before its predecessors are known', () => {
  expect(layoutOf({ 7: 4, 3: 4 }).offsetOf(7)).toBe(28);
  expect(layoutOf({ 0: 4, 9: 4 }).offsetOf(9)).toBe(36);
  // The last one is shorter, and ends where everything does.
  expect(layoutOf({ 0: 4, 9: 3 }, 39).offsetOf(9)).toBe(36);
  expect(layoutOf({ 5: 4, 9: 3 }, 39).offsetOf(9)).toBe(36);
});

test('one size alone tells nothing: it may be the last chunk', () => {
  expect(layoutOf({ 9: 4 }).offsetOf(9)).toBeUndefined();
  expect(layoutOf({ 0: 4, 9: 3 }, 50).offsetOf(9)).toBeUndefined();
  expect(layoutOf({ 3: 4, 9: 3 }).offsetOf(9)).toBeUndefined();
});

test('a short chunk in the middle is no last one', () => {
  const layout = layoutOf({ 0: 4, 5: 4 });
  const before = layout.doubts;
  layout.set(2, 3);
  expect(layout.offsetOf(5)).toBeUndefined();
  expect(layout.doubts).toBeGreaterThan(before);
  layout.set(1, 4);
  layout.set(3, 4);
  layout.set(4, 4);
  expect(layout.offsetOf(5)).toBe(19);
});

test('a chunk that is prepared with another size moves those after it', () => {
  const layout = layoutOf({ 0: 4, 1: 4, 2: 4 });
  const before = layout.doubts;
  layout.set(1, 2);
  expect(layout.offsetOf(2)).toBe(6);
  expect(layout.doubts).toBeGreaterThan(before);
});
