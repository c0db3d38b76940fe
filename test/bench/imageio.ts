import { link, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { call } from '../wire/imageio-stage.ts';
import { startServing } from '../wire/serving.ts';
import { makeSparseFile } from '../wire/sparse-file.ts';
import { curlAll } from './curl.ts';
import { Door, type DoorAddress } from './imageio-door.ts';
import { imageioOverNbd } from './imageio-nbd.ts';
import { type ImageioMeans, type ImageioRow, type Transport, transports } from './imageio-row.ts';
import { MemoryWatch, measured, type Sample } from './measure.ts';
import { startNginxSide } from './nginx-side.ts';
import { getPairs, type Pair, putPairs, settleDisk } from './pairs.ts';

const GiB = 2 ** 30;

/** Of an image that is mostly holes, or whose bytes do not leave the host. */
export interface ImageioAlone {
  readonly name: string;
  readonly bytes: number;
  readonly samples: readonly Sample[];
  /** Seconds that it may take; from the original's. */
  readonly floorSeconds?: number | undefined;
}

export interface ImageioResult {
  readonly files: readonly ImageioRow[];
  readonly nbd: readonly ImageioRow[];
  readonly alone: readonly ImageioAlone[];
  /** Most RssAnon of the serving process. */
  readonly memory: number;
  readonly sparse: { readonly size: number; readonly data: number };
}

/** The imageio door over each transport, in turn with nginx and nbdcopy, and what it does for sparse images. */
export async function imageioCase(means: ImageioMeans): Promise<ImageioResult> {
  const images = join(means.folder, 'imageio');
  await mkdir(images);
  const yaml = `imageio: {http: "127.0.0.1:0", https: "127.0.0.1:0", unix: ${images}/data.sock, control: ${images}/control.sock, roots: [${images}]}\n`;
  const dataDir = join(means.folder, 'imageio-data');
  await mkdir(dataDir, { mode: 0o700 });
  await using serving = await startServing({ yaml, dataDir });
  const addresses = JSON.parse(await readFile(join(serving.dataDir, 'run', 'addresses.json'), 'utf8'));
  const at: Readonly<Record<Transport, DoorAddress>> = {
    HTTP: { base: addresses.imageioHttp },
    unix: { base: 'http://localhost', socket: join(images, 'data.sock') },
    HTTPS: { base: addresses.imageioHttps },
  };
  const door = new Door(images, serving.pid);
  using memory = new MemoryWatch(serving.pid);
  const files: ImageioRow[] = [];
  for (const transport of transports) files.push(...(await overFiles(door, { transport, at: at[transport] }, means)));
  const nbd = await imageioOverNbd(door, at, means);
  const data = Math.min(means.size, GiB);
  const sparse = { size: 20 * data, data };
  const alone = await withoutPeer(door, at.HTTP, { ...sparse, means });
  await rm(images, { recursive: true });
  return { files, nbd, alone, memory: memory.bytes, sparse };
}

async function overFiles(
  door: Door,
  { transport, at }: { readonly transport: Transport; readonly at: DoorAddress },
  means: ImageioMeans,
): Promise<readonly ImageioRow[]> {
  await using nginx = await startNginxSide({ tls: transport === 'HTTPS', unix: transport === 'unix' });
  const hawser = door.side(at);
  const all = { ...means, hawser, nginx };
  const puts = await putPairs(all, `, imageio, ${transport}`);
  for (const side of [hawser, nginx]) await side.store(means.whole.file, means.size);
  const gets = await getPairs(all, `, imageio, ${transport}`);
  const row = (way: ImageioRow['way']) => (pair: Pair) => ({
    way,
    transport,
    name: pair.name.split(', ')[1] ?? '',
    bytes: pair.bytes,
    hawser: pair.hawser,
    peer: { name: 'nginx' as const, samples: pair.nginx },
  });
  const flushed = await repeated(means, async () => {
    const one = await door.side(at, 'y').put([means.whole], means.size);
    await settleDisk();
    const sample = await measured(door.pid, one.send);
    await one.remove();
    return sample;
  });
  const withFlush = { way: 'PUT' as const, transport, name: '1 stream, flushed', bytes: means.size, hawser: flushed };
  return [...puts.map(row('PUT')), withFlush, ...gets.map(row('GET'))];
}

/** 20 times the data in holes: only its extents, its data by them, the whole by GET. Checksums of it and of the dense image. */
async function withoutPeer(
  door: Door,
  at: DoorAddress,
  { size, data, means }: { readonly size: number; readonly data: number; readonly means: ImageioMeans },
): Promise<readonly ImageioAlone[]> {
  const path = door.path();
  await makeSparseFile(path, size, data);
  const holes = await door.ticket({ size, url: `file://${path}`, ops: 'read' });
  const dense = door.path();
  await link(means.whole.file, dense);
  const full = await door.ticket({ size: means.size, url: `file://${dense}`, ops: 'read' });
  const url = `${at.base}/images/${holes}`;
  const get = (from: string) => () => measured(door.pid, () => curlAll([{ url: from }]));
  const byExtents = async () => {
    const list: { start: number; length: number; zero: boolean }[] = JSON.parse(
      (await call({ to: at.base, path: `/images/${holes}/extents` })).text,
    );
    for (const { start, length, zero } of list) {
      if (!zero) await curlAll([{ url, range: [start, start + length - 1] }]);
    }
  };
  // 38 s: what the original takes for 20 GiB with 1 GiB of data in a file, as it ships the zeros.
  const floorSeconds = data === GiB ? 3.8 : undefined;
  return [
    { name: 'sparse: extents', bytes: size, samples: await repeated(means, get(`${url}/extents`)) },
    {
      name: 'sparse: download by extents',
      bytes: size,
      samples: await repeated(means, () => measured(door.pid, byExtents)),
      floorSeconds,
    },
    { name: 'sparse: whole GET', bytes: size, samples: await repeated(means, get(url)) },
    { name: 'sparse: checksum', bytes: size, samples: await repeated(means, get(`${url}/checksum`)) },
    {
      name: 'dense: checksum',
      bytes: means.size,
      samples: await repeated(means, get(`${at.base}/images/${full}/checksum`)),
    },
  ];
}

/** After one round that does not count. */
async function repeated({ rounds }: ImageioMeans, run: () => Promise<Sample>): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (let round = 0; round <= rounds; round++) {
    const sample = await run();
    if (round > 0) samples.push(sample);
  }
  return samples;
}
