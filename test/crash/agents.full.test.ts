import { afterAll, describe, expect, test } from 'vitest';
import type { RealProcess } from '../agents/real-process.ts';
import { type AgentsWorld, openAgentsWorld } from './agents-world.ts';
import { cliClientWith } from './cli-client.ts';
import { runRound } from './harness.ts';
import { type Kill, type KillPoint, type Plan, seeded } from './plan.ts';
import { type CopyMoment, killReplication, type Replication, removeCopyOn } from './replication.ts';
import { firstSeed, rounds } from './seeds.ts';

/** Rounds one after the other in a world of their own. Most of the time of each is waiting, so two of these run side by side. */
class Rounds {
  #world: Promise<AgentsWorld> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** When the rounds before have ended, however. */
  next<T>(round: (world: AgentsWorld) => Promise<T>): Promise<T> {
    this.#world ??= openAgentsWorld();
    const world = this.#world;
    const mine = this.#last.then(async () => round(await world));
    this.#last = mine.catch(() => {}); // its own test heard of it
    return mine;
  }

  async close(): Promise<void> {
    await (await this.#world)?.[Symbol.asyncDispose]();
  }
}

const uploads = new Rounds();
const replications = new Rounds();
afterAll(async () => {
  await uploads.close();
  await replications.close();
});

type Victims = readonly [name: string, of: (world: AgentsWorld, on: Replication) => readonly RealProcess[]];

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

function uploadRound(number: number, round: number): void {
  const [who, victims] = uploading[number] ?? ['nobody', () => []];
  // Each round has a seed of its own: it is the name of the image too.
  const apart = number * 1100;
  const title = `kill -9 of ${who} during an upload with two copies`;
  test(`${title}: round ${round}`, () =>
    uploads.next(async (world) => {
      const plan = planOf(firstSeed + apart + round);
      world.server.victims = victims(world, { imageId: '', from: 0, to: 1 });
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
    }));
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

const replicating: readonly Victims[] = [
  ['the source', ({ cluster }, { from }) => [cluster.agent(from)]],
  ['the target', ({ cluster }, { to }) => [cluster.agent(to)]],
  ['control', ({ cluster }) => [cluster.control]],
];

/** The Image that is replicated to and fro, once it is there, and the number of the agent that has its only Copy. */
const replicated = { imageId: '', from: 0, rounds: 0, arrived: 0 };

function replicationRound(number: number, round: number): void {
  const [who, victims] = replicating[number] ?? ['nobody', () => []];
  const apart = 3300 + number * 1100;
  const title = `kill -9 of ${who} during a replication`;
  test(`${title}: round ${round}`, () =>
    replications.next(async (world) => {
      const seed = firstSeed + apart + round;
      const { imageId } = await onlyCopy(world);
      const { from } = replicated;
      const replication = { imageId, from, to: 1 - from };
      const at = copyMomentOf(seed);
      world.server.victims = victims(world, replication);
      replicated.arrived += await killReplication(world, replication, at).catch((cause: unknown) => {
        // What it left is not the beginning of another round.
        replicated.imageId = 'lost';
        const hint = again(seed - apart, title);
        throw new Error(`${JSON.stringify(at)}: ${cause instanceof Error ? cause.message : cause}\n${hint}`, { cause });
      });
      await removeCopyOn(world, imageId, from);
      replicated.from = 1 - from;
      replicated.rounds++;
    }));
}

describe.concurrent('control and agents', () => {
  for (const round of rounds(10)) {
    for (const number of [0, 1, 2]) {
      uploadRound(number, round);
      replicationRound(number, round);
    }
  }
});

test('there were kills in the middle of replications, and what was asked for was seen', ({ skip }) => {
  // Of a few rounds alone all may be at the edges.
  if (replicated.rounds < 12) skip();
  return replications.next(async ({ relays }) => {
    expect(replicated.arrived).toBeGreaterThan(0);
    for (const relay of relays) expect(relay.asked.length).toBeGreaterThan(0);
  });
});

async function onlyCopy(world: AgentsWorld): Promise<{ readonly imageId: string }> {
  if (replicated.imageId === 'lost') throw new Error('An earlier round failed in the middle.');
  if (replicated.imageId === '') {
    world.server.victims = [];
    await uploadOnce(world);
    const { items } = await world.api().images({ name: 'replicated' });
    replicated.imageId = items[0]?.id ?? '';
  }
  return replicated;
}

async function uploadOnce({ proxy, token, source, folder }: AgentsWorld): Promise<void> {
  const client = cliClientWith('--store', 'host0/default');
  const life = await client.start({ url: proxy.url, token, file: source.path, name: 'replicated', folder });
  expect(await life.ended).toEqual({ kind: 'done' });
  await life.close();
}
