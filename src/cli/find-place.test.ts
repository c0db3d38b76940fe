import { expect, test } from 'vitest';
import { pickNamed } from './find-place.ts';
import { placementOf } from './placement-options.ts';
import { tagsAfter } from './tag-change.ts';

const hosts = [
  { id: 'aaaa1111-0000-4000-8000-000000000001', name: 'north' },
  { id: 'aaaa2222-0000-4000-8000-000000000002', name: 'south' },
  { id: 'bbbb1111-0000-4000-8000-000000000003', name: 'south' },
  { id: 'cccc1111-0000-4000-8000-000000000004', name: 'aaaa' },
];

test('a host or store is named by name, id, or the beginning of an id', () => {
  expect(pickNamed('host', 'north', hosts)).toBe(hosts[0]);
  expect(pickNamed('host', hosts[1]?.id ?? '', hosts)).toBe(hosts[1]);
  expect(pickNamed('host', 'BBBB', hosts)).toBe(hosts[2]);
  expect(pickNamed('host', 'aaaa', hosts), 'a name goes before the beginning of an id').toBe(hosts[3]);
});

test('a name that several have is refused with the list, and one that nobody has with what there is', () => {
  expect(() => pickNamed('host', 'south', hosts)).toThrow(
    expect.objectContaining({ code: 'name-ambiguous', message: expect.stringMatching(/aaaa2222.*\n.*bbbb1111/) }),
  );
  expect(() => pickNamed('host', 'aa', hosts)).toThrow(
    expect.objectContaining({ code: 'not-found', message: expect.stringContaining('north') }),
  );
  expect(() => pickNamed('store', 'x', [])).toThrow('There is no store "x". There are none.');
});

test('tags are added, taken away and cleared; one that is not there is said', () => {
  expect(tagsAfter(['a', 'b'], { add: ['c', 'a'], remove: ['b'] })).toEqual(['a', 'c']);
  expect(tagsAfter(['a', 'b'], { add: ['c'], clear: true })).toEqual(['c']);
  expect(tagsAfter(['a'], { add: [], clear: true })).toEqual([]);
  expect(tagsAfter(['a'], { add: [] })).toBeUndefined();
  expect(() => tagsAfter(['a'], { add: [], remove: ['b'] })).toThrow('There is no tag "b" on it. It has: a.');
});

test('a placement has what was asked for only, and an empty tag asks for none', () => {
  expect(placementOf({})).toBeUndefined();
  expect(placementOf({ minCopies: 2, storeTag: ['ssd', 'fast'] })).toEqual({
    minCopies: 2,
    storeTags: ['ssd', 'fast'],
  });
  expect(placementOf({ hostTag: [''] })).toEqual({ hostTags: [] });
});
