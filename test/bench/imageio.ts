import { copyFile, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { call } from '../wire/imageio-stage.ts';
import { startServing } from '../wire/serving.ts';
import { makeSparseFile } from '../wire/sparse-file.ts';
import { type CurlRequest, curlAll } from './curl.ts';
import { rangesOf } from './hawser-side.ts';
import { measured, median, type Sample } from './measure.ts';
import { startNginxSide } from './nginx-side.ts';
import { getPairs, type Pair, type PairMeans, putPairs } from './pairs.ts';
import type { Side } from './side.ts';

/** Of one image that is mostly holes, without a peer; medians. */
export interface ImageioAlone {
  readonly name: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export interface ImageioResult {
  readonly pairs: readonly Pair[];
  readonly alone: readonly ImageioAlone[];
}

type Means = Omit<PairMeans, 'hawser' | 'nginx'>;

/** The imageio door over HTTP and HTTPS in turn with nginx, over a unix socket, and what it does for sparse images. */
export async function imageioCase(means: Means): Promise<ImageioResult> {
  const images = join(means.folder, 'imageio');
  await mkdir(images);
  const yaml = `imageio: {http: "127.0.0.1:0", https: "127.0.0.1:0", unix: ${images}/data.sock, control: ${images}/control.sock, roots: [${images}]}\n`;
  await using serving = await startServing({ yaml });
  const addresses = JSON.parse(await readFile(join(serving.dataDir, 'run', 'addresses.json'), 'utf8'));
  const door = new Door(images, serving.pid);
  const pairs: Pair[] = [];
  for (const tls of [false, true]) {
    await using nginx = await startNginxSide(tls);
    const hawser = door.side(tls ? addresses.imageioHttps : addresses.imageioHttp);
    const all = { ...means, hawser, nginx };
    const label = `, imageio${tls ? ', TLS' : ''}`;
    pairs.push(...(await putPairs(all, label)));
    for (const side of [hawser, nginx]) await side.store(means.whole.file, means.size);
    pairs.push(...(await getPairs(all, label)));
  }
  const alone = [...(await overUnix(door, means)), ...(await sparse(door, addresses.imageioHttp, means))];
  await rm(images, { recursive: true });
  return { pairs, alone };
}

/** Tickets on files of a folder, and the server's process. */
class Door {
  readonly folder: string;
  readonly pid: number;
  #count = 0;

  constructor(folder: string, pid: number) {
    this.folder = folder;
    this.pid = pid;
  }

  async ticket(size: number, path = join(this.folder, `image-${this.#count}`)): Promise<{ id: string; path: string }> {
    const id = `bench-${this.#count++}`;
    const ticket = { uuid: id, size, url: `file://${path}`, ops: ['write'], timeout: 3600, sparse: true };
    const to = join(this.folder, 'control.sock');
    const answer = await call({ to, method: 'PUT', path: `/tickets/${id}`, body: JSON.stringify(ticket) });
    if (answer.status !== 200) throw new Error(answer.text);
    return { id, path };
  }

  side(base: string, socket?: string): Side {
    const where = socket === undefined ? {} : { socket };
    let kept = '';
    return {
      name: 'hawser',
      pid: this.pid,
      put: async (parts, size) => {
        const { id, path } = await this.ticket(size);
        await writeFile(path, '');
        await truncate(path, size);
        const requests = parts.map(
          ({ file, offset }): CurlRequest => ({
            ...where,
            url: `${base}/images/${id}?flush=n`,
            file,
            headers: [`Content-Range: bytes ${offset}-*/*`],
          }),
        );
        return { send: () => curlAll(requests), remove: () => rm(path) };
      },
      store: async (file, size) => {
        const { id, path } = await this.ticket(size);
        await copyFile(file, path);
        kept = id;
      },
      get: (streams, size) =>
        curlAll(rangesOf(streams, size).map((range) => ({ ...where, url: `${base}/images/${kept}`, ...range }))),
      [Symbol.asyncDispose]: async () => {},
    };
  }
}

async function overUnix(door: Door, means: Means): Promise<readonly ImageioAlone[]> {
  const side = door.side('http://localhost', join(door.folder, 'data.sock'));
  await side.store(means.whole.file, means.size);
  return [
    await repeated('PUT over a unix socket', means.size, means.rounds, async () => {
      const one = await side.put([means.whole], means.size);
      const sample = await measured(door.pid, one.send);
      await one.remove();
      return sample;
    }),
    await repeated('GET over a unix socket', means.size, means.rounds, () =>
      measured(door.pid, () => side.get(1, means.size)),
    ),
  ];
}

/** 20 times the data in holes: the whole by GET, only its extents, its checksum. */
async function sparse(door: Door, base: string, means: Means): Promise<readonly ImageioAlone[]> {
  const size = 20 * means.size;
  const { id, path } = await door.ticket(size);
  await makeSparseFile(path, size, means.size);
  const url = `${base}/images/${id}`;
  const get = (what: string) => () => measured(door.pid, () => curlAll([{ url: `${url}${what}` }]));
  const data = async () => {
    const list: { start: number; length: number; zero: boolean }[] = JSON.parse(
      (await call({ to: base, path: `/images/${id}/extents` })).text,
    );
    for (const { start, length, zero } of list) {
      if (!zero) await curlAll([{ url, range: [start, start + length - 1] }]);
    }
  };
  return [
    await repeated('sparse image: extents', size, means.rounds, get('/extents')),
    await repeated('sparse image: download by extents', size, means.rounds, () => measured(door.pid, data)),
    await repeated('sparse image: whole GET', size, 1, get('')),
    await repeated('sparse image: checksum', size, means.rounds, get('/checksum')),
  ];
}

async function repeated(
  name: string,
  bytes: number,
  rounds: number,
  run: () => Promise<Sample>,
): Promise<ImageioAlone> {
  const samples: Sample[] = [];
  for (let round = 0; round <= rounds; round++) {
    const sample = await run();
    if (round > 0) samples.push(sample);
  }
  return {
    name,
    bytes,
    seconds: median(samples.map(({ seconds }) => seconds)),
    cpuSeconds: median(samples.map(({ cpuSeconds }) => cpuSeconds)),
  };
}
