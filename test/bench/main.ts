import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { finishCase, hashCase, sparseCase } from './alone.ts';
import { warmPageCache } from './files.ts';
import { type HawserSide, startHawser } from './hawser-side.ts';
import { imageioCase } from './imageio.ts';
import { MemoryWatch } from './measure.ts';
import { nbdCase } from './nbd.ts';
import { startNginxSide } from './nginx-side.ts';
import { type BenchOptions, benchOptions } from './options.ts';
import { benchmarkPage } from './page.ts';
import { getPairs, makeParts, type Pair, putPairs } from './pairs.ts';

/** `npm run bench`: measures, prints, and writes docs/benchmarks.md. */
async function main(): Promise<void> {
  const options = benchOptions(process.argv.slice(2));
  for (const [what, path] of [
    ['nginx (apt-get install nginx-light)', '/usr/sbin/nginx'],
    ['curl (apt-get install curl)', '/usr/bin/curl'],
    ['nbdcopy (apt-get install libnbd-bin)', '/usr/bin/nbdcopy'],
    ['qemu-nbd (apt-get install qemu-utils)', '/usr/bin/qemu-nbd'],
    ['openssl (apt-get install openssl)', '/usr/bin/openssl'],
  ] as const) {
    if (!existsSync(path)) throw new Error(`The bench needs ${what}.`);
  }
  const folder = await mkdtemp(join(options.folder, 'hawser-bench-'));
  try {
    const page = benchmarkPage(await run(options, folder), options, new Date());
    process.stdout.write(`\n${page}`);
    if (options.out !== undefined) await writeFile(options.out, page);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function run(options: BenchOptions, folder: string) {
  const { rounds, size } = options;
  const wants = (name: BenchOptions['only'][number]) => options.only.includes(name);
  note(`warming up: ${Math.round((4 * size) / 2 ** 20)} MiB of page cache`);
  await warmPageCache(folder, 4 * size);
  const hash = wants('hash') || wants('put') ? await hashCase(Math.min(4, availableParallelism())) : undefined;
  const pairs: Pair[] = [];
  let serveMemory = 0;
  const parts = await makeParts(folder, size);
  const against = async (tls: boolean, work: (hawser: HawserSide) => Promise<void>) => {
    await using hawser = await startHawser(folder, tls);
    using memory = new MemoryWatch(hawser.servePid);
    await using nginx = await startNginxSide(tls);
    const means = { hawser, nginx, rounds, size, folder, note, ...parts };
    if (wants('put') && (!tls || wants('tls'))) pairs.push(...(await putPairs(means, tls ? ', TLS' : '')));
    if (wants('get') && (!tls || wants('tls'))) {
      for (const side of [hawser, nginx]) await side.store(parts.whole.file, size);
      pairs.push(...(await getPairs(means, tls ? ', TLS' : '')));
    }
    await work(hawser);
    serveMemory = Math.max(serveMemory, memory.bytes);
  };
  let sparse: Awaited<ReturnType<typeof sparseCase>> | undefined;
  let nbd: Awaited<ReturnType<typeof nbdCase>> | undefined;
  let finish: Awaited<ReturnType<typeof finishCase>> | undefined;
  await against(false, async (hawser) => {
    if (wants('sparse')) sparse = await sparseCase(hawser, folder, { rounds, size });
    if (wants('nbd')) nbd = await nbdCase(folder, parts.whole.file, { rounds, size });
    if (wants('finish')) finish = await finishCase(hawser, folder, { rounds, size });
  });
  const imageio = wants('imageio') ? await imageioCase({ rounds, size, folder, note, ...parts }) : undefined;
  if (wants('tls')) await against(true, async () => {});
  return { pairs, hash, sparse, finish, nbd, imageio, serveMemory };
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

await main();
