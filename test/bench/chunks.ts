import { mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { DataAccess, UploadResource } from '../../src/contract/api/upload.ts';
import { type Cluster, startCluster } from '../agents/cluster.ts';
import { type Cut, checksumOf, evenCuts, LonghornClient } from '../wire/longhorn-client.ts';
import { type CurlRequest, curl } from './curl.ts';
import { writeRandom } from './files.ts';
import { childSeconds, measured, median, type Sample } from './measure.ts';
import type { PairMeans } from './pairs.ts';
import { type Rivals, rateOf, rival } from './rivals.ts';

const MiB = 2 ** 20;
const CHUNK = 20 * MiB;
const LANES = 4;

export const chunkWays = ['longhorn', 'relay', 'data'] as const;
/** Longhorn's calls; a native PUT through control's relay; the same to the data listener. */
export type ChunkWay = (typeof chunkWays)[number];

/** CPU is of control, its PostgreSQL and the agent; `clientCpuSeconds` that of the curls. */
export interface ChunkSample extends Sample {
  readonly clientCpuSeconds: number;
  /** The Task that follows, which computes the SHA-512 of the file; no part of the rest. */
  readonly checksum?: Sample;
}

export interface ChunksResult {
  readonly contests: readonly ChunkRivals[];
  readonly finish: readonly ChunkFinish[];
}

export type ChunkRivals = Rivals<ChunkWay, ChunkSample>;

/** How long `chunkCoalesce` took; the median. */
export interface ChunkFinish {
  readonly size: number;
  readonly data: number;
  readonly seconds: number;
}

type Means = Omit<PairMeans, 'hawser' | 'nginx' | 'quarters'>;

/** One piece as it is sent. */
interface Piece extends Cut {
  readonly file: string;
  readonly checksum: string;
}

/**
 * The dense image in pieces of 20 MiB, four at a time, each by a curl of its own: through Longhorn's door (control relays to the
 * upload server on the agent) in turn with native PUTs of the same pieces. Once with TLS on the agent, once without.
 */
export async function chunksCase(means: Means): Promise<ChunksResult> {
  const folder = join(means.folder, 'chunks');
  await mkdir(folder);
  const pieces = await piecesOf(means.whole.file, means.size, folder);
  const contests: ChunkRivals[] = [];
  for (const tls of [true, false]) {
    await using cluster = await startOne(tls);
    contests.push(await contest(cluster, pieces, means, tls));
  }
  await rm(folder, { recursive: true });
  return { contests, finish: await finishes(means) };
}

function startOne(tls: boolean): Promise<Cluster> {
  const env = { HAWSER_LONGHORN_UPLOAD_PORTS: '0', HAWSER_LONGHORN_OPEN_UPLOAD_SERVERS: tls ? 'off' : 'on' };
  return startCluster({ agents: 1, controlEnv: env, agentEnv: { ...env, HAWSER_TLS_MODE: tls ? 'on' : 'off' } });
}

/** What is measured must be what the page says. */
async function mustBe(tls: boolean, { agents }: Cluster, uploadAddress: string): Promise<void> {
  const found = [
    ...agents.map(({ addresses }) => addresses.data?.startsWith('https:') === true),
    await fetch(`http://${uploadAddress}/`).then(
      () => false,
      () => true,
    ),
  ];
  if (found.some((secure) => secure !== tls)) throw new Error(`TLS is not ${tls ? 'on' : 'off'} everywhere: ${found}.`);
}

async function contest(cluster: Cluster, pieces: readonly Piece[], means: Means, tls: boolean): Promise<ChunkRivals> {
  const { size, rounds, folder } = means;
  const result = await rival<ChunkWay, ChunkSample>({
    name: tls ? 'TLS' : 'plain',
    bytes: size,
    rounds,
    folder,
    ways: {
      longhorn: () => byLonghorn(cluster, pieces, size, tls),
      relay: () => byPut(cluster, pieces, size, 'relay'),
      data: () => byPut(cluster, pieces, size, 'data'),
    },
  });
  const rates = chunkWays.map((way) => `${way} ${rateOf(result.samples[way], size).toFixed(0)} MiB/s`);
  means.note(`chunks, ${result.name}: ${rates.join(', ')}`);
  return result;
}

async function byLonghorn(
  cluster: Cluster,
  pieces: readonly Piece[],
  size: number,
  tls: boolean,
): Promise<ChunkSample> {
  const client = new LonghornClient(cluster.control.api, cluster.control.token);
  const { uuid, uploadAddress } = await client.create('bench');
  await mustBe(tls, cluster, uploadAddress);
  const sample = await measuredBoth(cluster, async () => {
    await client.must(client.action('bench', 'uploadServerStart', { size }));
    await inLanes(pieces, (piece) => sendChunk(client, cluster.control.token, piece));
    await client.must(client.action('bench', 'chunkCoalesce', { size, count: pieces.length }));
  });
  const checksum = await measured(serversOf(cluster), () => tasksEnded(cluster, uuid));
  await client.ok('DELETE', '/backingimages/bench');
  return { ...sample, checksum };
}

async function sendChunk(client: LonghornClient, token: string, piece: Piece): Promise<void> {
  const { index, length: size, checksum, file } = piece;
  const { json } = await client.must(client.action('bench', 'chunkPrepare', { index, size, checksum }));
  if ((json as { readonly exists: boolean }).exists) throw new Error(`Chunk ${index} was there already.`);
  await curl({
    url: `${client.base}/v1/backingimages/bench?action=chunkUpload`,
    // The pages that send forms do not wait for a 100 either.
    headers: [`Authorization: Bearer ${token}`, 'Expect:'],
    form: [
      ['index', String(index)],
      ['checksum', checksum],
      ['chunk', `@${file};type=application/octet-stream;filename=blob`],
    ],
  });
}

async function byPut(
  cluster: Cluster,
  pieces: readonly Piece[],
  size: number,
  way: 'relay' | 'data',
): Promise<ChunkSample> {
  const { control } = cluster;
  const body = JSON.stringify({ name: 'bench', size });
  const upload = await control.json<UploadResource>('/uploads', { method: 'POST', body });
  const access = await control.json<DataAccess>(`/uploads/${upload.id}/access`);
  const [base, token] =
    way === 'data' ? [access.url, access.token] : [`${control.api}/api/v1/uploads/${upload.id}`, control.token];
  const put = ({ file, offset, length }: Piece): CurlRequest => ({
    url: `${base}/data`,
    file,
    headers: [
      `Authorization: Bearer ${token}`,
      `Content-Range: bytes ${offset}-${offset + length - 1}/${size}`,
      'Expect:',
    ],
  });
  const sample = await measuredBoth(cluster, async () => {
    await inLanes(pieces, (piece) => curl(put(piece)));
    await control.json(`/uploads/${upload.id}/finish`, { method: 'POST', body: '{}' });
  });
  await mustWork(control.ask(`/images/${upload.imageId}`, { method: 'DELETE' }));
  return sample;
}

/** Until the coalesce is answered, for images of two sizes with the same data; medians. */
async function finishes(means: Means): Promise<readonly ChunkFinish[]> {
  const folder = join(means.folder, 'coalesce');
  await mkdir(folder);
  const shapes = [256 * MiB, 4096 * MiB].map((size) => ({ size, data: 256 * MiB, times: [] as number[] }));
  const data = join(folder, 'data');
  const zeros = join(folder, 'zeros');
  await writeRandom(data, 256 * MiB);
  await writeFile(zeros, '');
  await truncate(zeros, 256 * MiB);
  const sums = { data: checksumOf(await readFile(data)), zeros: checksumOf(Buffer.alloc(256 * MiB)) };
  await using cluster = await startOne(true);
  const client = new LonghornClient(cluster.control.api, cluster.control.token);
  for (let round = 0; round <= means.rounds; round++) {
    for (const { size, times } of shapes) {
      const { uuid } = await client.create('bench');
      await client.must(client.action('bench', 'uploadServerStart', { size }));
      const cuts = evenCuts(size, 256 * MiB);
      await inLanes(cuts, (cut) => {
        const what =
          cut.index === 0 ? ({ file: data, checksum: sums.data } as const) : { file: zeros, checksum: sums.zeros };
        return sendChunk(client, cluster.control.token, { ...cut, ...what });
      });
      const begun = performance.now();
      await client.must(client.action('bench', 'chunkCoalesce', { size, count: cuts.length }));
      if (round > 0) times.push((performance.now() - begun) / 1000);
      await tasksEnded(cluster, uuid);
      await client.ok('DELETE', '/backingimages/bench');
    }
  }
  await rm(folder, { recursive: true });
  return shapes.map(({ size, data: bytes, times }) => ({ size, data: bytes, seconds: median(times) }));
}

async function piecesOf(path: string, size: number, folder: string): Promise<readonly Piece[]> {
  const pieces: Piece[] = [];
  await using file = await open(path);
  for (const cut of evenCuts(size, CHUNK)) {
    const piece = { ...cut, file: join(folder, `piece-${cut.index}`) };
    const content = Buffer.alloc(cut.length);
    await file.read(content, 0, cut.length, cut.offset);
    await writeFile(piece.file, content);
    pieces.push({ ...piece, checksum: checksumOf(content) });
  }
  return pieces;
}

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const lane = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

function serversOf({ control, agents }: Cluster): readonly number[] {
  return [control.pid, ...agents.map(({ pid }) => pid)];
}

async function measuredBoth(cluster: Cluster, work: () => Promise<void>): Promise<ChunkSample> {
  const before = await childSeconds();
  const sample = await measured(serversOf(cluster), work);
  return { ...sample, clientCpuSeconds: (await childSeconds()) - before };
}

async function tasksEnded({ control }: Cluster, imageId: string): Promise<void> {
  for (;;) {
    const { items } = await control.json<{ items: readonly TaskResource[] }>(`/tasks?imageId=${imageId}`);
    if (items.every(({ endedAt }) => endedAt !== null)) return;
    await delay(100);
  }
}

async function mustWork(answer: Promise<Response>): Promise<void> {
  const { ok, status, url } = await answer;
  if (!ok) throw new Error(`${url} answered ${status}`);
}
