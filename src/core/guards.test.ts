import { expect, test } from 'vitest';
import { removalRefusal } from './guards.ts';
import type { Copy, Origin } from './nouns.ts';

function image(origin: Origin, minCopies: number, ...states: Copy['state'][]) {
  const copies = states.map((state, index) => ({ id: `c${index}`, state, storeName: `s${index}`, hostName: 'h' }));
  return { name: 'a', origin, placement: { minCopies }, copies };
}
const remove = (of: ReturnType<typeof image>, ...ids: string[]) => removalRefusal(of, new Set(ids), new Set())?.code;

test('the last ready copy of an upload stays, of a download it goes when the minimum allows', () => {
  expect(remove(image('upload', 1, 'ready'), 'c0')).toBe('last-copy');
  expect(remove(image('upload', 1, 'ready', 'ready'), 'c0')).toBeUndefined();
  expect(remove(image('upload', 1, 'ready', 'ready'), 'c0', 'c1')).toBe('last-copy');
  expect(remove(image('download', 1, 'ready'), 'c0')).toBe('conflict');
});

test('a copy in progress does not stand in for the last ready one', () => {
  expect(remove(image('upload', 1, 'ready', 'in-progress'), 'c0')).toBe('last-copy');
});

test('what is unknown may hold the only bytes', () => {
  expect(remove(image('upload', 1, 'unknown'), 'c0')).toBe('last-copy');
  expect(remove(image('upload', 1, 'unknown', 'in-progress'), 'c0')).toBe('last-copy');
  expect(remove(image('upload', 1, 'unknown', 'ready'), 'c0')).toBeUndefined();
});

test('the only one in progress stays', () => {
  expect(remove(image('upload', 1, 'in-progress'), 'c0')).toBe('last-copy');
  expect(remove(image('upload', 1, 'in-progress', 'failed'), 'c1')).toBeUndefined();
});

test('never fewer than the minimum', () => {
  expect(remove(image('upload', 2, 'ready', 'ready'), 'c0')).toBe('conflict');
  expect(remove(image('upload', 2, 'ready', 'ready', 'ready'), 'c0')).toBeUndefined();
  expect(remove(image('upload', 2, 'ready', 'in-progress'), 'c1')).toBe('conflict');
});

test('one in use stays, whatever else there is', () => {
  const three = image('upload', 1, 'ready', 'ready', 'ready');
  expect(removalRefusal(three, new Set(['c1']), new Set(['c1']))?.code).toBe('in-use');
  expect(removalRefusal(three, new Set(['c0']), new Set(['c1']))).toBeUndefined();
});
