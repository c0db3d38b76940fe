import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import { Caller, MiB, treeSha256, until } from '../wire/caller.ts';
import { type Cluster, startCluster } from './cluster.ts';

let cluster: Cluster;
let bytes: Buffer;
beforeAll(async () => {
  // So slow that there is a middle to be killed in.
  cluster = await startCluster({ agents: 2, agentEnv: { HAWSER_LIMITS_TOTAL_RATE: String(24 * MiB) } });
  bytes = Buffer.alloc(72 * MiB + 4321);
  randomBytes(40 * MiB).copy(bytes, 3 * MiB + 17);
  randomBytes(4321).copy(bytes, 72 * MiB);
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const rounds = Number(process.env.HAWSER_TEST_ROUNDS ?? '2');
const api = () => new Caller(cluster.control.api, cluster.control.token);

/** Asks again while control is down. */
async function patiently<T>(ask: () => Promise<T | undefined | false>): Promise<T> {
  return until(async () => {
    try {
      return await ask();
    } catch {
      return undefined;
    }
  });
}

const readyOn = (image: ImageResource) =>
  image.copies
    .filter((copy) => copy.state === 'ready')
    .map((copy) => copy.hostName)
    .sort();

/** What lies in the Store of an agent, sealed and unfinished. */
async function filesOf(index: number): Promise<readonly string[]> {
  const store = join(cluster.agent(index).dataDir, 'stores', 'default');
  const entries = await readdir(store, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && entry.name.length > 30).map((entry) => entry.name);
}

async function storeOf(index: number): Promise<string> {
  const { items } = await api().ok<{ items: { id: string; hostName: string }[] }>('GET', '/stores');
  return items.find((store) => store.hostName === cluster.agent(index).name)?.id ?? '';
}

async function uploadTo(index: number, minCopies: number): Promise<ImageResource> {
  const caller = api();
  const request = { name: 'disk', size: bytes.length, storeId: await storeOf(index), placement: { minCopies } };
  const upload = await caller.begin(request);
  const zeros = { offset: 44 * MiB, length: 28 * MiB };
  await caller.zeros(upload.id, zeros);
  for (const at of [0, 22 * MiB]) await caller.put(upload.id, at, bytes.subarray(at, at + 22 * MiB));
  await caller.put(upload.id, 72 * MiB, bytes.subarray(72 * MiB));
  return (await caller.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` })).image;
}

const victims = {
  target: () => cluster.agent(1),
  source: () => cluster.agent(0),
  control: () => cluster.control,
};

test.each(Object.entries(victims))(
  'kill -9 of the %s in the middle of a replication: nothing lost, nothing doubled',
  async (_name, victimOf) => {
    for (let round = 0; round < rounds; round++) {
      const image = await uploadTo(0, 2);
      const running = await patiently(async () => {
        const { items } = await api().ok<{ items: TaskResource[] }>('GET', `/tasks?kind=replicate&imageId=${image.id}`);
        return items.find((task) => task.doneBytes > (4 + round * 4) * MiB && task.doneBytes < bytes.length);
      });
      const victim = victimOf();
      await victim.kill9();
      await victim.restart();
      const done = await patiently(async () => {
        const found = await api().image(image.id);
        return readyOn(found).length === 2 && found;
      });
      expect(readyOn(done)).toEqual(['host0', 'host1']);
      expect(done.copies).toHaveLength(2);
      const task = await api().taskIs(running.id, 'SUCCESS', 'FAILURE', 'CANCELLED');
      expect(task.state).toBe('SUCCESS');
      const sha = createHash('sha256').update(bytes).digest('hex');
      for (const index of [0, 1]) await patiently(async () => (await filesOf(index)).length === 1);
      for (const index of [0, 1]) {
        expect(
          createHash('sha256')
            .update(await fileOn(index))
            .digest('hex'),
        ).toBe(sha);
      }
      await patiently(async () => (await api().call('DELETE', `/images/${image.id}`)).status === 204);
      for (const index of [0, 1]) await patiently(async () => (await filesOf(index)).length === 0);
    }
  },
);

/** The Copy on this agent, past all of Hawser: as it lies there. */
async function fileOn(index: number): Promise<Buffer> {
  const store = join(cluster.agent(index).dataDir, 'stores', 'default');
  const [name] = await filesOf(index);
  const entry = (await readdir(store, { recursive: true, withFileTypes: true })).find((one) => one.name === name);
  return readFile(join(entry?.parentPath ?? '', entry?.name ?? ''));
}
