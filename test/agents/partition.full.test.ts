import { randomBytes } from 'node:crypto';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { DataAccess, UploadResource } from '../../src/contract/api/upload.ts';
import { testWith } from '../needs.ts';
import { Caller, MiB, sha256, until } from '../wire/caller.ts';
import { runCli } from '../wire/cli.ts';
import { type Cluster, type ClusterAgent, startCluster } from './cluster.ts';
import { type NetworkPlace, openNetwork } from './namespaces.ts';

/** Data, a hole, data: so much that there is a middle at the rate below. */
const bytes = Buffer.alloc(96 * MiB + 4321);
randomBytes(40 * MiB).copy(bytes, 17);
randomBytes(8 * MiB + 4321).copy(bytes, 88 * MiB);
const RATE = 8 * MiB;

interface Site extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly places: readonly NetworkPlace[];
  addPlace(): Promise<NetworkPlace>;
  caller(): Caller;
}

/** Control and so many agents, each in a network namespace of its own. */
async function site(agents: number): Promise<Site> {
  const undo = new AsyncDisposableStack();
  try {
    const network = undo.use(await openNetwork());
    const cluster = undo.use(
      await startCluster({
        controlPlace: await network.addPlace(),
        controlEnv: { HAWSER_COPIES_AWAY_SECONDS: '3', HAWSER_TLS_MODE: 'off' },
        agentEnv: { HAWSER_LIMITS_TOTAL_RATE: String(RATE), HAWSER_TLS_MODE: 'off' },
      }),
    );
    const places: NetworkPlace[] = [];
    for (let index = 0; index < agents; index++) {
      const place = await network.addPlace();
      places.push(place);
      await cluster.addAgent({ place });
    }
    await cluster.online();
    return {
      cluster,
      places,
      addPlace: () => network.addPlace(),
      caller: () => new Caller(cluster.control.api, cluster.control.token),
      [Symbol.asyncDispose]: () => undo.disposeAsync(),
    };
  } catch (error) {
    await undo.disposeAsync();
    throw error;
  }
}

async function storeOf(caller: Caller, { name }: ClusterAgent): Promise<string> {
  const { items } = await caller.ok<{ items: { id: string; hostName: string }[] }>('GET', '/stores');
  return items.find((store) => store.hostName === name)?.id ?? '';
}

/** Files below the Store of an agent, finished and not. */
async function filesOf({
  dataDir,
}: ClusterAgent): Promise<{ objects: readonly string[]; incoming: readonly string[] }> {
  const store = join(dataDir, 'stores/default');
  return { objects: await readdir(join(store, 'objects')), incoming: await readdir(join(store, 'incoming')) };
}

const journalsOf = ({ dataDir }: ClusterAgent) => readdir(join(dataDir, 'agent/uploads'));

/** sha256 of each object of an agent. */
async function hashesOf(agent: ClusterAgent): Promise<readonly string[]> {
  const { objects } = await filesOf(agent);
  const folder = join(agent.dataDir, 'stores/default/objects');
  return (await Promise.all(objects.map(async (name) => sha256(await readFile(join(folder, name)))))).sort();
}

const readyOn = ({ copies }: ImageResource) =>
  copies
    .filter(({ state }) => state === 'ready')
    .map(({ hostName }) => hostName)
    .sort();

/** An Image of these bytes with its first Copy on this agent. */
async function upload(
  caller: Caller,
  agent: ClusterAgent,
  { name, content, minCopies = 1 }: { readonly name: string; readonly content: Buffer; readonly minCopies?: number },
): Promise<ImageResource> {
  const storeId = await storeOf(caller, agent);
  const { id } = await caller.begin({ name, size: content.length, storeId, placement: { minCopies } });
  for (let at = 0; at < content.length; at += 16 * MiB) await caller.put(id, at, content.subarray(at, at + 16 * MiB));
  return (await caller.finish(id)).image;
}

testWith('namespaces')(
  'an agent that is cut off while it fetches and receives: its copies are made elsewhere; back, what ended meanwhile goes and the rest goes on',
  async () => {
    await using all = await site(3);
    const { cluster, places } = all;
    const caller = all.caller();
    const small = { ready: randomBytes(MiB), deleted: randomBytes(MiB) };
    const [victim, third] = [cluster.agent(1), cluster.agent(2)];
    const thirdStore = await storeOf(caller, third);
    await caller.ok('PATCH', `/stores/${thirdStore}`, { body: { enabled: false } });

    // On it: a finished Copy, one that will be deleted, an upload that will be cancelled, one that goes on.
    const kept = await upload(caller, victim, { name: 'kept', content: small.ready });
    const deleted = await upload(caller, victim, { name: 'deleted', content: small.deleted });
    const cancelled = await caller.begin({ name: 'cancelled', size: 9 * MiB, storeId: await storeOf(caller, victim) });
    await caller.put(cancelled.id, 0, bytes.subarray(0, MiB));
    const image = await upload(caller, cluster.agent(0), { name: 'replicated', content: bytes });
    await writeFile(join(cluster.folder, 'a.img'), bytes.subarray(0, 40 * MiB));
    const server = { server: cluster.control.api, token: cluster.control.token, cwd: cluster.folder };
    const command = ['upload', '--store', `${victim.name}/default`, 'a.img', 'goes on'];
    const uploading = runCli(command, server);
    await until(async () => {
      const { items } = await caller.ok<{ items: UploadResource[] }>('GET', '/uploads?state=open');
      return items.some(({ name, receivedBytes }) => name === 'goes on' && receivedBytes > 0);
    });
    // And one that it fetches: it alone can. This comes last, so that it is cut off in the middle, however slow the machine is.
    await caller.ok('PATCH', `/images/${image.id}`, { body: { placement: { minCopies: 2 } } });
    const running = await until(async () => {
      const { items } = await caller.ok<{ items: TaskResource[] }>('GET', `/tasks?kind=replicate&imageId=${image.id}`);
      return items.find((task) => task.state === 'RUNNING');
    });
    await places[1]?.cut();
    expect((await caller.task(running.id)).doneBytes).toBeLessThan(bytes.length);
    await caller.ok('PATCH', `/stores/${thirdStore}`, { body: { enabled: true } });

    await cluster.control.hostIs(victim.name, ({ state }) => state === 'offline');
    await caller.ok('DELETE', `/uploads/${cancelled.id}`);
    await caller.ok('DELETE', `/images/${deleted.id}`);
    const elsewhere = await until(async () => {
      const found = await caller.image(image.id);
      return readyOn(found).length === 2 && found;
    });
    expect(readyOn(elsewhere)).toEqual(['host0', third.name]);
    expect((await caller.task(running.id)).state).toBe('FAILURE');
    expect((await caller.image(kept.id)).copies.map(({ state }) => state)).toEqual(['unknown']);
    // It lives, knows nothing of all that, and has three unfinished ones and two objects.
    const lives = await filesOf(victim);
    expect([lives.incoming.length, lives.objects.length]).toEqual([3, 2]);

    await places[1]?.heal();
    await cluster.control.hostIs(victim.name, ({ state }) => state === 'online');
    const first = await uploading;
    if (first.code !== 0) expect(await runCli(command, server)).toMatchObject({ code: 0 });
    await until(async () => (await journalsOf(victim)).length === 0 && (await filesOf(victim)).objects.length === 2);
    await until(async () => readyOn(await caller.image(kept.id)).length === 1);

    // Nothing lost, nothing doubled: one file for each Copy, and the right bytes in it.
    const whole = sha256(bytes);
    expect(await hashesOf(cluster.agent(0))).toEqual([whole]);
    expect(await hashesOf(third)).toEqual([whole]);
    expect(await hashesOf(victim)).toEqual([sha256(bytes.subarray(0, 40 * MiB)), sha256(small.ready)].sort());
    for (const agent of cluster.agents) {
      expect((await filesOf(agent)).incoming).toEqual([]);
      expect(await journalsOf(agent)).toEqual([]);
    }
    const copies = (await caller.image(image.id)).copies.map(({ hostName, state }) => `${hostName} ${state}`);
    expect(copies.sort()).toEqual(['host0 ready', `${third.name} ready`]);
    const tasks = await caller.ok<{ items: TaskResource[] }>('GET', `/tasks?kind=replicate&imageId=${image.id}`);
    expect(tasks.items.map(({ state }) => state).sort()).toEqual(['FAILURE', 'SUCCESS']);
    const uploads = await caller.ok<{ items: UploadResource[] }>('GET', '/uploads?name=goes%20on');
    expect(uploads.items.map(({ state }) => state)).toEqual(['sealed']);
  },
);

testWith('namespaces')(
  'a copy of its data folder in another namespace takes over from an agent that is cut off; back, the old process is fenced',
  async () => {
    await using all = await site(1);
    const { cluster, places } = all;
    const old = cluster.agent(0);
    const caller = all.caller();
    const content = bytes.subarray(0, 8 * MiB);
    const { id, imageId } = await caller.begin({ name: 'taken over', size: content.length });
    const before = await caller.ok<DataAccess>('GET', `/uploads/${id}/access`);
    await caller.put(id, 0, content.subarray(0, 2 * MiB));

    await places[0]?.cut();
    const dataDir = join(cluster.folder, 'copy');
    await cp(old.dataDir, dataDir, { recursive: true, filter: (path) => !path.endsWith('.sock') });
    const place = await all.addPlace();
    const newer = await cluster.addAgent({ name: old.name, dataDir, place });
    await cluster.control.hostIs(old.name, ({ state, agentUrl }) => {
      return state === 'online' && agentUrl === newer.addresses.agent;
    });
    await until(async () => (await caller.call('GET', `/uploads/${id}/ranges`)).status === 200);
    expect((await caller.ranges(id)).receivedBytes).toBe(2 * MiB);
    await caller.put(id, 2 * MiB, content.subarray(2 * MiB, 4 * MiB));

    const said = old.log().length;
    await places[0]?.heal();
    await old.said('agent.fenced', said);
    const refused = await caller.as(before.token).call('PUT', `${before.url}/data`, {
      bytes: content.subarray(4 * MiB),
      headers: { 'content-range': `bytes ${4 * MiB}-${content.length - 1}/${content.length}` },
    });
    expect([refused.status, (refused.json as { code?: string }).code]).toEqual([409, 'fenced']);
    expect((await cluster.control.host(old.name))?.agentUrl).toBe(newer.addresses.agent);
    await caller.put(id, 4 * MiB, content.subarray(4 * MiB));
    await caller.finish(id);

    expect(await hashesOf(newer)).toEqual([sha256(content)]);
    expect(await filesOf(old)).toMatchObject({ objects: [] });
    expect((await caller.data(imageId)).equals(content)).toBe(true);
    expect((await caller.image(imageId)).copies).toHaveLength(1);
    const { items } = await caller.ok<{ items: unknown[] }>('GET', '/hosts');
    expect(items).toHaveLength(1);
  },
);
