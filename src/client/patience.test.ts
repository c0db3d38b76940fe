import { expect, test } from 'vitest';
import { HawserError } from '../core/errors.ts';
import { Patience } from './patience.ts';

test('four lanes that lose one server at once wait as long as one lane would', async () => {
  const lanes = waiting(4);
  const one = waiting(1);
  for (let failure = 0; failure < 3; failure++) {
    await lanes.failTogether();
    await one.failTogether();
  }
  expect(lanes.waited).toEqual([500, 500, 500, 500, 1000, 1000, 1000, 1000, 2000, 2000, 2000, 2000]);
  expect(one.waited).toEqual([500, 1000, 2000]);
});

test('a success lets the next wait be short again', async () => {
  const lane = waiting(1);
  await lane.failTogether();
  await lane.failTogether();
  lane.patience.succeeded();
  await lane.failTogether();
  expect(lane.waited).toEqual([500, 1000, 500]);
});

/** A clock that stands until all lanes wait, then is where the last of them goes on. */
function waiting(lanes: number) {
  let now = 0;
  let latest = 0;
  const waited: number[] = [];
  const patience = new Patience({
    clock: {
      now: () => now,
      random: () => 1,
      delay: (milliseconds) => {
        waited.push(milliseconds);
        latest = Math.max(latest, now + milliseconds);
        return Promise.resolve();
      },
    },
    signal: new AbortController().signal,
    giveUpMs: 1_000_000,
    onWaiting: () => {},
  });
  const failTogether = async () => {
    await Promise.all(Array.from({ length: lanes }, () => patience.outlast(new HawserError('unavailable', 'away'))));
    now = latest;
  };
  return { patience, waited, failTogether };
}
