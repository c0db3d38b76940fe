import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HashPool } from '../../src/engine/hash-pool.ts';
import { SlabPool } from '../../src/engine/slab-pool.ts';
import { runCli } from '../wire/cli.ts';
import { Peak } from '../wire/proc.ts';
import { makeSparseFile } from '../wire/sparse-file.ts';
import { curlAll } from './curl.ts';
import { writeRandom } from './files.ts';
import type { HawserSide } from './hawser-side.ts';
import { median } from './measure.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

export interface SparseResult {
  readonly data: number;
  readonly sparseSize: number;
  readonly up: { readonly dense: number; readonly sparse: number };
  readonly down: { readonly dense: number; readonly sparse: number };
  readonly cliMemory: number;
}

/** A sparse image of a hundred times its data against the data alone, up and down by the CLI; medians of seconds. */
export async function sparseCase(
  hawser: HawserSide,
  folder: string,
  { rounds, size }: { readonly rounds: number; readonly size: number },
): Promise<SparseResult> {
  const sizes = { dense: size, sparse: 100 * size };
  const files = { dense: join(folder, 'dense.img'), sparse: join(folder, 'sparse.img') };
  await mkdir(join(folder, 'home'), { recursive: true });
  for (const kind of ['dense', 'sparse'] as const) await makeSparseFile(files[kind], sizes[kind], size);
  const up = { dense: [] as number[], sparse: [] as number[] };
  const down = { dense: [] as number[], sparse: [] as number[] };
  const memory = new Peak();
  const options = {
    server: hawser.api.base,
    token: hawser.api.token,
    cwd: folder,
    home: join(folder, 'home'),
    sample: (pid: number) => memory.sample(pid),
  };
  for (let round = 0; round <= rounds; round++) {
    for (const kind of round % 2 === 0 ? (['dense', 'sparse'] as const) : (['sparse', 'dense'] as const)) {
      const name = `${kind}-${round}`;
      const target = join(folder, 'fetched.img');
      const sent = mustWork(await runCli(['upload', files[kind], name, '--quiet'], options));
      const fetched = mustWork(await runCli(['download', name, target, '--quiet'], options));
      mustWork(await runCli(['image', 'rm', name], options));
      await rm(target);
      if (round === 0) continue;
      up[kind].push(sent);
      down[kind].push(fetched);
    }
  }
  for (const file of Object.values(files)) await rm(file);
  const medians = (of: typeof up) => ({ dense: median(of.dense), sparse: median(of.sparse) });
  return { data: size, sparseSize: sizes.sparse, up: medians(up), down: medians(down), cliMemory: memory.bytes };
}

function mustWork({
  code,
  stderr,
  seconds,
}: {
  readonly code: number | null;
  readonly stderr: string;
  readonly seconds: number;
}): number {
  if (code !== 0) throw new Error(`The CLI ended with ${code}: ${stderr}`);
  return seconds;
}

export interface FinishResult {
  readonly size: number;
  readonly data: number;
  readonly seconds: number;
}

/** How long `finish` takes for images of several sizes whose bytes are all there; medians. */
export async function finishCase(
  hawser: HawserSide,
  folder: string,
  { rounds, size }: { readonly rounds: number; readonly size: number },
): Promise<readonly FinishResult[]> {
  const shapes = [
    { size: 16 * MiB, data: 16 * MiB },
    { size: GiB, data: Math.min(size, GiB) },
    { size: 8 * GiB, data: Math.min(size, GiB) },
  ];
  const seconds = shapes.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, shape] of shapes.entries()) {
      const took = await finishOnce(hawser, folder, shape);
      if (round > 0) seconds[i]?.push(took);
    }
  }
  await rm(join(folder, 'finish-part'));
  return shapes.map((shape, i) => ({ ...shape, seconds: median(seconds[i] ?? []) }));
}

async function finishOnce(
  { api }: HawserSide,
  folder: string,
  { size, data }: { readonly size: number; readonly data: number },
): Promise<number> {
  const file = join(folder, 'finish-part');
  await writeRandom(file, data);
  const upload = await api.call<{ id: string; imageId: string }>('POST', '/uploads', {
    name: 'finish',
    size,
    dataSize: data,
  });
  const access = await api.call<{ url: string; token: string }>('GET', `/uploads/${upload.id}/access`);
  await curlAll([
    {
      url: `${access.url}/data`,
      file,
      headers: [`Authorization: Bearer ${access.token}`, `Content-Range: bytes 0-${data - 1}/${size}`],
    },
  ]);
  if (data < size)
    await api.call('POST', `/uploads/${upload.id}/zeros`, { ranges: [{ offset: data, length: size - data }] });
  const begun = performance.now();
  await api.call('POST', `/uploads/${upload.id}/finish`);
  const seconds = (performance.now() - begun) / 1000;
  await api.call('DELETE', `/images/${upload.imageId}`);
  return seconds;
}

export interface HashResult {
  readonly bytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly threads: number;
}

/** The tree digest of 1 GiB in the server's own worker threads, without anything else. */
export async function hashCase(threads: number): Promise<HashResult> {
  const slabs = new SlabPool(24);
  await using hashes = new HashPool(threads);
  const run = async (blocks: number) => {
    let next = 0;
    const lane = async () => {
      while (next++ < blocks) {
        const slab = await slabs.acquire();
        await hashes.leaf(slab, 0, MiB);
        slabs.release(slab);
      }
    };
    await Promise.all(Array.from({ length: 12 }, lane));
  };
  await run(64);
  const cpu = process.cpuUsage();
  const begun = performance.now();
  await run(1024);
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { bytes: GiB, seconds, cpuSeconds: (user + system) / 1e6, threads };
}
