import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cliClient } from './cli-client.ts';
import { type CrashWorld, openWorld, runRound } from './harness.ts';
import type { KillPoint } from './plan.ts';
import { firstSeed } from './seeds.ts';

const hook = fileURLToPath(new URL('acknowledge-early.ts', import.meta.url));
let world: CrashWorld;
beforeAll(async () => {
  world = await openWorld({ size: 64 * 1024 * 1024 - 777, nodeArgs: ['--import', hook] });
});
afterAll(() => world?.[Symbol.asyncDispose]());

const points: readonly KillPoint[] = [
  { kind: 'acknowledged', part: 0.1 },
  { kind: 'acknowledged', part: 0.5 },
  { kind: 'complete' },
];

test.for(points)('a build that acknowledges before the journal turns the suite red: %j', async (at) => {
  const plan = { seed: firstSeed + points.indexOf(at), kills: [{ who: 'server', at }] } as const;
  await expect(runRound(world, cliClient, plan)).rejects.toThrow('Acknowledged bytes were lost');
  // The rest of the round never ran: its upload must not be in the way of the next.
  const api = world.api();
  for (const upload of (await api.uploads({ name: `crash-${plan.seed}.img` })).items) {
    if (upload.state !== 'sealed') await api.cancelUpload(upload.id);
  }
});
