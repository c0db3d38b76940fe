import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import { type Cluster, startCluster } from '../agents/cluster.ts';
import { runCli } from '../wire/cli.ts';
import { makeSparseFile } from '../wire/sparse-file.ts';
import { measured, measuredChildren, type Sample } from './measure.ts';
import type { PairMeans } from './pairs.ts';
import { type Rivals, rateOf, rival } from './rivals.ts';
import { type RsyncDaemon, startRsyncDaemon } from './rsync.ts';

export const replicateWays = ['hawser', 'rsync', 'rsync --fsync', 'cp', 'cp, sync'] as const;
export type ReplicateWay = (typeof replicateWays)[number];

type Means = Omit<PairMeans, 'hawser' | 'nginx' | 'quarters'>;

interface Source {
  readonly name: string;
  readonly file: string;
  /** Bytes of it that are not holes. */
  readonly data: number;
}

/**
 * One more Copy of an Image, from agent to agent, in turn with rsync and cp of the same file on the same filesystem. Control and the
 * agents are processes of their own, once with TLS between the agents, as on any other address than loopback, and once without.
 */
export async function replicateCase(means: Means): Promise<readonly Rivals<ReplicateWay>[]> {
  const folder = join(means.folder, 'replicate');
  const target = join(folder, 'target');
  await mkdir(target, { recursive: true });
  const sparse = { name: 'sparse', file: join(folder, 'sparse.img'), data: means.size / 2 };
  await makeSparseFile(sparse.file, 8 * means.size, sparse.data);
  const sources: readonly Source[] = [{ name: 'dense', file: means.whole.file, data: means.size }, sparse];
  const results: Rivals<ReplicateWay>[] = [];
  for (const tls of [true, false]) {
    await using cluster = await startCluster({ agents: 2, agentEnv: { HAWSER_TLS_MODE: tls ? 'on' : 'off' } });
    for (const source of sources) {
      await using daemon = await startRsyncDaemon(dirname(source.file), folder);
      const image = await imageOn(cluster, source, folder);
      const result = await rival<ReplicateWay, Sample>({
        name: `${source.name}, ${tls ? 'TLS' : 'plain'}`,
        bytes: source.data,
        rounds: means.rounds,
        folder: means.folder,
        ways: { hawser: () => copyOnce(cluster, image, tls), ...peers(source, daemon, join(target, 'copy')) },
      });
      results.push(result);
      const rate = (way: ReplicateWay) => rateOf(result.samples[way], result.bytes).toFixed(0);
      means.note(`replicate, ${result.name}: ${replicateWays.map((way) => `${way} ${rate(way)} MiB/s`).join(', ')}`);
      await cluster.control.ask(`/images/${image.id}`, { method: 'DELETE' });
    }
  }
  await rm(folder, { recursive: true });
  return results;
}

function peers(
  { file }: Source,
  daemon: RsyncDaemon,
  target: string,
): Record<Exclude<ReplicateWay, 'hawser'>, () => Promise<Sample>> {
  const run = promisify(execFile);
  const once = (work: () => Promise<unknown>) => async () => {
    const sample = await measuredChildren(async () => void (await work()));
    await rm(target);
    return sample;
  };
  const rsync = (...more: readonly string[]) =>
    once(() => daemon.fetch(basename(file), target, ['--sparse', '--inplace', ...more]));
  const cp = (then: string) =>
    once(() => run('sh', ['-c', `cp --sparse=always "$1" "$2" ${then}`, 'sh', file, target]));
  return { rsync: rsync(), 'rsync --fsync': rsync('--fsync'), cp: cp(''), 'cp, sync': cp('&& sync "$2"') };
}

/** An Image of this file on the first agent. */
async function imageOn(cluster: Cluster, { name, file }: Source, home: string): Promise<ImageResource> {
  const { control } = cluster;
  const options = { server: control.api, token: control.token, cwd: home, home };
  const store = await storeOf(cluster, 0);
  const { code, stderr } = await runCli(['upload', file, name, '--store', store, '--quiet'], options);
  if (code !== 0) throw new Error(`The CLI ended with ${code}: ${stderr}`);
  const { items } = await control.json<{ items: readonly ImageResource[] }>(`/images?name=${name}`);
  const [image] = items;
  if (image?.state !== 'ready') throw new Error(`The image is ${image?.state ?? 'not there'}.`);
  return image;
}

async function storeOf({ control, agent }: Cluster, index: number): Promise<string> {
  const { items } = await control.json<{ items: readonly { id: string; hostName: string }[] }>('/stores');
  return items.find(({ hostName }) => hostName === agent(index).name)?.id ?? '';
}

/** From the request until its Task has ended, and away with it again. */
async function copyOnce(cluster: Cluster, { id }: ImageResource, tls: boolean): Promise<Sample> {
  const { control, agents } = cluster;
  // What is measured must be what the page says.
  for (const { addresses, name } of agents) {
    if (addresses.data?.startsWith('https:') !== tls) throw new Error(`The data of ${name} is at ${addresses.data}.`);
  }
  const body = JSON.stringify({ storeId: await storeOf(cluster, 1) });
  let seconds = Number.NaN;
  const { cpuSeconds } = await measured([control.pid, ...agents.map(({ pid }) => pid)], async () => {
    const begun = Date.now();
    let task = await control.json<TaskResource>(`/images/${id}/copies`, { method: 'POST', body });
    // Seldom, so that the asking costs nothing that counts; the Task itself says when it has ended.
    while (task.endedAt === null) {
      await delay(100);
      task = await control.json<TaskResource>(`/tasks/${task.id}`);
    }
    if (task.state !== 'SUCCESS') throw new Error(`The copy ended with ${task.state}: ${task.status}`);
    seconds = (Date.parse(task.endedAt) - begun) / 1000;
  });
  await removeSecond(cluster, id);
  return { seconds, cpuSeconds };
}

async function removeSecond({ control, agent }: Cluster, id: string): Promise<void> {
  const image = () => control.json<ImageResource>(`/images/${id}`);
  const copyIds = (await image()).copies.filter(({ hostName }) => hostName === agent(1).name).map((copy) => copy.id);
  await control.json(`/images/${id}/cleanup`, { method: 'POST', body: JSON.stringify({ copyIds }) });
  while ((await image()).copies.length > 1) await delay(50);
}
