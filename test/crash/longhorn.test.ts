import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CrashWorld, openWorld, runRound } from './harness.ts';
import { longhornClient } from './longhorn-client.ts';
import { planOf } from './plan.ts';
import { firstSeed, rounds } from './seeds.ts';

let world: CrashWorld;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());

const again = (seed: number) =>
  `Once more (an uneven one has 1100 less): CRASH_SEED=${seed} CRASH_ROUNDS=1 npx vitest run test/crash/longhorn.test.ts`;

// Each round has a seed of its own: it is the name of the image too.
for (const [how, apart] of [
  ['even', 0],
  ['uneven', 1100],
] as const) {
  test.for(rounds(6))(
    `chunks through Longhorn's door, ${how}, server and client killed -9 in turn: round %i`,
    async (round) => {
      const plan = planOf(firstSeed + apart + round);
      const done = await runRound(world, longhornClient(how), plan).catch((cause: unknown) => {
        throw new Error(`${cause instanceof Error ? cause.message : cause}\n${again(plan.seed)}`, { cause });
      });
      expect(done.length, again(plan.seed)).toBeGreaterThan(0);
      await expect.poll(() => readdir(join(world.server.dataDir, 'agent/chunks')), { timeout: 120_000 }).toEqual([]);
    },
  );
}
