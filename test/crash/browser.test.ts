import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { testWith } from '../needs.ts';
import { browserClient } from './browser-client.ts';
import { type CrashWorld, openWorld, runRound } from './harness.ts';
import { type Kill, type Plan, planOf } from './plan.ts';
import { firstSeed, rounds } from './seeds.ts';
import { root } from './server-group.ts';

const test = testWith('chromium');
let opened: Promise<CrashWorld> | undefined;
afterAll(async () => (await opened)?.[Symbol.asyncDispose]());

function worldOf(): Promise<CrashWorld> {
  execFileSync(process.execPath, [join(root, 'tools/web-build.ts'), '--if-stale'], { cwd: root });
  opened ??= openWorld();
  return opened;
}

for (const round of rounds(5)) {
  const seed = firstSeed + round;
  test(`the page in Chromium, server and browser killed -9 in turn: round ${round}`, async () => {
    const again = `Once more: CRASH_SEED=${seed} CRASH_ROUNDS=1 npx vitest run test/crash/browser.test.ts`;
    const done = await runRound(await worldOf(), browserClient, planFor(seed)).catch((cause: unknown) => {
      throw new Error(`${cause instanceof Error ? cause.message : cause}\n${again}`, { cause });
    });
    expect(done.length, again).toBeGreaterThan(0);
  });
}

/** Five seeds in a row meet the middle and the finish, the server and the browser. */
function planFor(seed: number): Plan {
  const kills = planOf(seed).kills;
  const [point] = kills;
  const wanted: readonly Kill['who'][] = ['server', 'client', 'server', 'client', 'server'];
  const who = wanted[seed % wanted.length] ?? 'server';
  return { seed, kills: point === undefined ? [] : [{ ...point, who }, ...kills.slice(1)] };
}
