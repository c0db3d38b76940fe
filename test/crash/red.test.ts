import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cliClient } from './cli-client.ts';
import { forgetfulClient } from './forgetful-client.ts';
import { type CrashClient, type CrashWorld, openWorld, runRound } from './harness.ts';
import type { Kill, KillPoint } from './plan.ts';
import { killGroup } from './server-group.ts';

/** A suite that cannot fail is worth nothing: here it must. */
const size = 64 * 1024 * 1024 - 777;
const early = fileURLToPath(new URL('acknowledge-early.ts', import.meta.url));

const points: readonly KillPoint[] = [
  { kind: 'acknowledged', part: 0.1 },
  { kind: 'acknowledged', part: 0.5 },
  { kind: 'complete' },
];

test('a build that acknowledges before the journal turns the suite red, each time', async () => {
  await using world = await openWorld({ size, nodeArgs: ['--import', early] });
  for (const [seed, at] of points.entries()) {
    const said = await redness(world, cliClient, { seed, kills: [{ who: 'server', at }] });
    expect(said).toContain('Acknowledged bytes were lost when the server was killed');
    expect(said).toContain(`Plan of seed ${seed}`);
  }
});

describe('the right build', () => {
  test('is green on such a kill, and red with a client that sends again what was acknowledged', async () => {
    await using world = await openWorld({ size });
    const calm: readonly Kill[] = [{ who: 'server', at: { kind: 'acknowledged', part: 0.1 } }];
    expect(await runRound(world, cliClient, { seed: 100, kills: calm })).toEqual(calm);
    const kills: readonly Kill[] = [{ who: 'client', at: { kind: 'acknowledged', part: 0.5 } }];
    expect(await redness(world, forgetfulClient, { seed: 200, kills })).toContain('Acknowledged bytes were sent again');
  });

  test('is red when something of the killed server lives on', async () => {
    await using world = await openWorld({ size });
    const env = { ...process.env, HAWSER_DATA_DIR: world.server.dataDir };
    const child = spawn('sleep', ['100000'], { detached: true, stdio: 'ignore', env });
    try {
      world.server.kill();
      await world.server.gone();
      await expect(world.server.start()).rejects.toThrow('still there although the next one is ready');
    } finally {
      killGroup(child.pid ?? 0);
    }
  });
});

/** What the round says is wrong. */
async function redness(world: CrashWorld, client: CrashClient, plan: Parameters<typeof runRound>[2]): Promise<string> {
  const said = await runRound(world, client, plan).then(
    () => 'nothing is wrong',
    (error: unknown) => String(error),
  );
  // Its upload must not be in the way of the next round.
  const api = world.api();
  for (const upload of (await api.uploads({ name: `crash-${plan.seed}.img` })).items) {
    if (upload.state !== 'sealed') await api.cancelUpload(upload.id);
  }
  return said;
}
