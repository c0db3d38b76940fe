import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliClient } from './cli-client.ts';
import { type CrashWorld, openWorld, runRound } from './harness.ts';
import { planOf } from './plan.ts';
import { firstSeed, rounds } from './seeds.ts';

let world: CrashWorld;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());

const again = (seed: number) => `Once more: CRASH_SEED=${seed} CRASH_ROUNDS=1 npx vitest run test/crash/cli.test.ts`;

test.for(rounds(45))('hawser upload, server and client killed -9 in turn: round %i', async (round) => {
  const plan = planOf(firstSeed + round);
  const done = await runRound(world, cliClient, plan).catch((cause: unknown) => {
    throw new Error(`${cause instanceof Error ? cause.message : cause}\n${again(plan.seed)}`, { cause });
  });
  // The first moment of a plan always comes; only a second one may come too late.
  expect(done.length, again(plan.seed)).toBeGreaterThan(0);
});
