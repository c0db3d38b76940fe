import { expect, test } from 'vitest';
import { HawserError } from './errors.ts';
import type { StoreRecord } from './nouns.ts';
import { place, type Wanted } from './placement.ts';

const GiB = 1024 ** 3;

const store = (index: number, some: Partial<StoreRecord> = {}): StoreRecord => ({
  id: `s${index}`,
  name: 'default',
  driver: 'file',
  hostId: `h${index}`,
  hostName: `host-${index}`,
  state: 'online',
  status: '',
  enabled: true,
  evicting: false,
  tags: [],
  hostTags: [],
  unschedulable: null,
  filesystem: null,
  copyCount: 0,
  capacity: 100 * GiB,
  free: index * GiB,
  reserved: 0,
  seenAt: null,
  ...some,
});

function refusal(stores: readonly StoreRecord[], some: Partial<Wanted> = {}): HawserError {
  const wanted = { reserve: 5 * GiB, placement: { storeTags: [], hostTags: [] }, ...some };
  const placed = place(
    stores,
    wanted,
    () => true,
    () => 0,
  );
  if (placed.kind === 'placed') throw new HawserError('internal', 'It was placed.');
  return placed.error;
}

const upTo = (count: number, some: (index: number) => Partial<StoreRecord> = () => ({})) =>
  Array.from({ length: count }, (_, i) => store(i + 1, some(i + 1)));

test('one full store: which one, of which host, what was wanted and what is free', () => {
  const { code, message, details } = refusal([store(3)]);
  expect(code).toBe('store-full');
  expect(message).toBe(
    'No room in store "default" of host "host-3": wanted 5 GiB, free 3 GiB. Remove images there or add space.',
  );
  expect(details).toEqual({
    wanted: 5 * GiB,
    room: [{ storeId: 's3', store: 'default', host: 'host-3', free: 3 * GiB }],
  });
});

test('three full stores are all named, the one with the most room first', () => {
  expect(refusal(upTo(3)).message).toBe(
    'No store has room: wanted 5 GiB, free 3 GiB in store "default" of host "host-3", 2 GiB in store "default" of host "host-2", ' +
      '1 GiB in store "default" of host "host-1". Remove images there or add space.',
  );
});

test('of fifty full stores three are named and the others counted', () => {
  const { message, details } = refusal(upTo(50, (index) => ({ free: index * 1024 ** 2 })));
  expect(message).toBe(
    'No store has room: wanted 5 GiB, free 50 MiB in store "default" of host "host-50", 49 MiB in store "default" of host "host-49", ' +
      '48 MiB in store "default" of host "host-48", no more in 47 more stores. Remove images there or add space.',
  );
  expect(details.room).toHaveLength(50);
});

test('fifty stores that cannot take it for reasons of many kinds are still a few sentences', () => {
  const { code, message } = refusal(
    upTo(50, (index) => {
      if (index <= 10) return { unschedulable: `The host host-${index} does not answer.` };
      if (index <= 30) return { tags: ['ssd'], hostTags: ['rack1'] };
      return { tags: ['ssd'] };
    }),
    {
      placement: { storeTags: ['ssd'], hostTags: ['rack1'] },
      taken: new Set(Array.from({ length: 20 }, (_, i) => `s${i + 11}`)),
    },
  );
  expect(code).toBe('unavailable');
  expect(message).toBe(
    'No store can take a copy now. Store "default" of host "host-1": The host host-1 does not answer. ' +
      'Store "default" of host "host-2": The host host-2 does not answer. ' +
      'Store "default" of host "host-3": The host host-3 does not answer. ' +
      'The list of stores says why 7 more stores cannot. ' +
      'Store "default" of host "host-31", store "default" of host "host-32", store "default" of host "host-33" and 17 more stores: The tag rack1 is missing there. ' +
      'Store "default" of host "host-11", store "default" of host "host-12", store "default" of host "host-13" and 17 more stores: A copy lies there already. ' +
      'Enable one or bring its host back.',
  );
});

test('what is wanted never reads the same as what is free', () => {
  const wanted = 5 * GiB + 1;
  expect(refusal([store(5)], { reserve: wanted }).message).toContain(`wanted ${wanted} bytes, free ${5 * GiB} bytes`);
});

test('beside a full store the others say why not', () => {
  expect(refusal([store(1), store(9, { unschedulable: 'The host host-9 is being drained.' })]).message).toBe(
    'No room in store "default" of host "host-1": wanted 5 GiB, free 1 GiB. Remove images there or add space. ' +
      'No other one can take it: Store "default" of host "host-9": The host host-9 is being drained.',
  );
});

test('one store that was asked for by its id', () => {
  expect(
    refusal(
      upTo(50, () => ({ free: 9 * GiB, tags: [] })),
      { storeId: 's7', taken: new Set(['s7']) },
    ).message,
  ).toBe('Store "default" of host "host-7": A copy lies there already. Add a store, or choose another one.');
});
