import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RealProcess } from '../agents/real-process.ts';
import { type AgentsWorld, openAgentsWorld } from './agents-world.ts';
import { cliClientWith } from './cli-client.ts';
import { runRound } from './harness.ts';
import { type Kill, type KillPoint, type Plan, seeded } from './plan.ts';
import { type CopyMoment, killReplication, removeCopyOn } from './replication.ts';
import { firstSeed, rounds } from './seeds.ts';

let world: AgentsWorld;
beforeAll(async () => {
  world = await openAgentsWorld();
});
afterAll(() => world?.[Symbol.asyncDispose]());

type Victims = readonly [name: string, of: (world: AgentsWorld) => readonly RealProcess[]];

const uploading: readonly Victims[] = [
  ['the agent', ({ cluster }) => [cluster.agent(0)]],
  ['control', ({ cluster }) => [cluster.control]],
  ['both at once', ({ cluster }) => [cluster.control, cluster.agent(0)]],
];

/** Seven seeds in a row meet every kind of moment. */
function planOf(seed: number): Plan {
  const random = seeded(seed);
  const middle = (from: number, to: number): KillPoint => ({
    kind: random() < 0.5 ? 'acknowledged' : 'moved',
    part: Number((from + random() * (to - from)).toFixed(4)),
  });
  const finish: KillPoint = { kind: 'finish-request', delayMs: Math.floor(random() * (random() < 0.7 ? 30 : 300)) };
  const kinds: readonly (readonly KillPoint[])[] = [
    [middle(0.02, 0.97)],
    [finish],
    [middle(0.05, 0.5), middle(0.55, 0.97)],
    [{ kind: 'complete' }],
    [{ kind: 'finish-answer-lost' }],
    [middle(0.1, 0.9), finish],
    [{ kind: 'finish-answered' }],
  ];
  return { seed, kills: (kinds[seed % kinds.length] ?? []).map((at): Kill => ({ who: 'server', at })) };
}

const again = (seed: number, name: string) =>
  `Once more: CRASH_SEED=${seed} CRASH_ROUNDS=1 npx vitest run test/crash/agents.full.test.ts -t '${name}'`;

for (const [number, [who, victims]] of uploading.entries()) {
  // Each round has a seed of its own: it is the name of the image too.
  const apart = number * 1100;
  const title = `kill -9 of ${who} during an upload with two copies`;
  test.for(rounds(10))(`${title}: round %i`, async (round) => {
    const plan = planOf(firstSeed + apart + round);
    world.server.victims = victims(world);
    world.server.isAll = who === 'both at once';
    // Each kind of moment comes both ways.
    const way = (plan.seed + Math.floor(plan.seed / 7)) % 2 === 0 ? [] : ['--relay'];
    const client = cliClientWith(...way, '--store', 'host0/default', '--min-copies', '2');
    const done = await runRound(world, client, plan).catch((cause: unknown) => {
      throw new Error(`${cause instanceof Error ? cause.message : cause}\n${again(plan.seed - apart, title)}`, {
        cause,
      });
    });
    expect(done.length, again(plan.seed - apart, title)).toBeGreaterThan(0);
  });
}

/** Four seeds in a row meet every kind of moment. */
function copyMomentOf(seed: number): CopyMoment {
  const random = seeded(seed);
  const part = Number((0.02 + random() * 0.9).toFixed(4));
  const kinds: readonly CopyMoment[] = [
    { kind: 'on-disk', part },
    { kind: 'complete', delayMs: Math.floor(random() * (random() < 0.7 ? 30 : 300)) },
    { kind: 'on-disk', part: Number((0.5 + part / 2).toFixed(4)) },
    { kind: 'begun' },
  ];
  return kinds[seed % kinds.length] ?? { kind: 'begun' };
}

test('kill -9 of source, target and control during a replication', async () => {
  const { cluster } = world;
  await runOnce(world);
  const { items } = await world.api().images({ name: 'replicated' });
  const imageId = items[0]?.id ?? '';
  let from = 0;
  let arrived = 0;
  for (const round of rounds(12)) {
    const seed = firstSeed + round;
    const to = 1 - from;
    const at = copyMomentOf(seed);
    const [who, victim] = (
      [
        ['source', cluster.agent(from)],
        ['target', cluster.agent(to)],
        ['control', cluster.control],
      ] as const
    )[(seed + Math.floor(seed / 12)) % 3] ?? ['control', cluster.control];
    world.server.victims = [victim];
    arrived += await killReplication(world, { imageId, from, to }, at).catch((cause: unknown) => {
      const what = `${who} killed ${JSON.stringify(at)}`;
      const hint = again(seed, 'kill -9 of source');
      throw new Error(`${what}: ${cause instanceof Error ? cause.message : cause}\n${hint}`, { cause });
    });
    await removeCopyOn(world, imageId, from);
    from = to;
  }
  await world.api().removeImage(imageId);
  // Else no kill was in the middle, or nothing passed where it is noted.
  if (rounds(12).length >= 4) expect(arrived).toBeGreaterThan(0);
  for (const relay of world.relays) if (rounds(12).length >= 2) expect(relay.asked.length).toBeGreaterThan(0);
});

async function runOnce({ proxy, token, source, folder }: AgentsWorld): Promise<void> {
  const client = cliClientWith('--store', 'host0/default');
  const life = await client.start({ url: proxy.url, token, file: source.path, name: 'replicated', folder });
  expect(await life.ended).toEqual({ kind: 'done' });
  await life.close();
}
