import { HawserError } from '../../src/core/errors.ts';
import { withCount } from '../../src/stores/layers/count.ts';
import { type FaultScript, withFault } from '../../src/stores/layers/fault.ts';
import { withLimit } from '../../src/stores/layers/limit.ts';
import { withRetry } from '../../src/stores/layers/retry.ts';
import type { Store } from '../../src/stores/store.ts';
import { storeConformance } from './store-conformance.ts';
import { filePlace, memoryPlace, placeIn } from './store-places.ts';

const retry = (store: Store) =>
  withRetry(store, { attempts: 20, first: 1, longest: 10, sleep: () => Promise.resolve(), random: () => 0 });

const limit = (store: Store) => {
  let clock = 0;
  const sleep = async (milliseconds: number) => {
    clock += milliseconds;
  };
  return withLimit(store, { bytesPerSecond: 1e9, now: () => clock, sleep });
};

const count = (store: Store) => withCount(store).store;

/** A third of all operations fails, each time in another way; the same ones in every run. */
const flaky = (store: Store) => {
  let x = 1;
  const script: FaultScript = ({ name }) => {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    const way = ways[(x >>> 16) % (3 * ways.length)];
    if (way === undefined) return undefined;
    // A create that was done and not answered is the one thing that a retry cannot hide.
    const when = name === 'create' || name === 'reopen' || name === 'open' ? 'before' : way;
    return { when, error: new HawserError('store-failed', 'a test says so') };
  };
  return withFault(store, script);
};
const ways = ['before', 'half', 'after'] as const;

const quiet = (store: Store) => withFault(store, () => undefined);

const memory = () => memoryPlace();
const file = () => filePlace();

storeConformance('retry over memory that fails a third of the time', {
  make: placeIn((store) => retry(flaky(store)), memory),
  makeSmall: (bytes) => placeIn(retry, () => memoryPlace(bytes))(),
  survives: 'nothing',
});
storeConformance('limit over memory', { make: placeIn(limit, memory), survives: 'nothing' });
storeConformance('count over fault over memory', {
  make: placeIn((store) => count(quiet(store)), memory),
  survives: 'nothing',
});

storeConformance('retry over file that fails a third of the time', {
  make: placeIn((s) => retry(flaky(s)), file),
  runs: 10,
});
storeConformance('count over limit over fault over file', {
  make: placeIn((s) => count(limit(quiet(s))), file),
  runs: 10,
});
