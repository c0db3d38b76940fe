import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { finishCase, type HashResult, hashCase, sparseCase } from './alone.ts';
import { chunksCase } from './chunks.ts';
import { warmPageCache } from './files.ts';
import { type HawserSide, startHawser } from './hawser-side.ts';
import { imageioCase } from './imageio.ts';
import { leaveNothingBehind } from './leave-nothing.ts';
import { MemoryWatch } from './measure.ts';
import { nbdCase } from './nbd.ts';
import { startNginxSide } from './nginx-side.ts';
import {
  type BenchOptions,
  benchHelp,
  benchOptions,
  type CaseName,
  cases,
  mustHavePrograms,
  sizeOfCase,
} from './options.ts';
import { provenance, writeSection } from './page.ts';
import { getPairs, makeParts, type Pair, type PairMeans, putPairs } from './pairs.ts';
import { replicateCase } from './replicate.ts';
import {
  chunkLines,
  finishLines,
  hashLines,
  imageioLines,
  type Lines,
  memoryLine,
  nbdLines,
  pairLines,
  replicateLines,
  sparseLines,
} from './tables.ts';

/** What a case is told, and what it says in the end. */
interface Bench {
  readonly means: Omit<PairMeans, 'hawser' | 'nginx'>;
  wants(...names: readonly CaseName[]): boolean;
  /** Prints the section, and puts it on the page. */
  done(name: CaseName, lines: Lines): Promise<void>;
}

/** `npm run bench`: measures, prints, and writes docs/benchmarks.md. */
async function main(): Promise<void> {
  const options = benchOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(benchHelp);
    return;
  }
  mustHavePrograms(options.only);
  const folder = await mkdtemp(join(options.folder, 'hawser-bench-'));
  leaveNothingBehind(folder);
  // Whatever is started keeps its files there: one filesystem for all, and nothing that stays.
  process.env.TMPDIR = folder;
  try {
    const sizes = new Set(options.only.map((name) => sizeOfCase(name, options)));
    for (const size of sizes) await runAt(size, options, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The cases whose dense image is of this size. */
async function runAt(size: number, options: BenchOptions, folder: string): Promise<void> {
  const { rounds, out } = options;
  const only = options.only.filter((name) => sizeOfCase(name, options) === size);
  const from = provenance(options, size, new Date());
  note(`warming up: ${Math.round((4 * size) / 2 ** 20)} MiB of page cache`);
  await warmPageCache(folder, 4 * size);
  const parts = await makeParts(folder, size);
  await run({
    means: { rounds, size, folder, note, ...parts },
    wants: (...names) => names.some((name) => only.includes(name)),
    done: async (name, lines) => {
      const section = [...lines, '', `<sub>${from}</sub>`];
      process.stdout.write(`\n## ${cases[name].title}\n\n${section.join('\n')}\n`);
      if (out !== undefined) await writeSection(out, name, section);
    },
  });
  for (const { file } of [parts.whole, ...parts.quarters]) await rm(file);
}

async function run(bench: Bench): Promise<void> {
  const { means, wants, done } = bench;
  const hash = wants('hash', 'put', 'tls') ? await hashCase(Math.min(4, availableParallelism())) : undefined;
  if (hash !== undefined && wants('hash')) await done('hash', hashLines(hash));
  if (wants('put', 'get', 'sparse', 'finish')) await plain(bench, hash);
  if (wants('tls')) await overTls(bench, hash);
  if (wants('replicate')) await done('replicate', replicateLines(await replicateCase(means), means.size));
  if (wants('chunks')) await done('chunks', chunkLines(await chunksCase(means)));
  if (wants('imageio')) await done('imageio', imageioLines(await imageioCase(means)));
  if (wants('nbd')) await done('nbd', nbdLines(await nbdCase({ ...means, source: means.whole.file })));
}

async function plain({ means, wants, done }: Bench, hash: HashResult | undefined): Promise<void> {
  await using hawser = await startHawser(means.folder, false);
  if (wants('put', 'get')) {
    await using nginx = await startNginxSide();
    const both = { ...means, hawser, nginx };
    const put = () => watched(hawser, async () => pairLines(await putPairs(both, ''), hash));
    const get = () => watched(hawser, async () => pairLines(await storedPairs(both, ''), undefined));
    if (wants('put')) await done('put', await put());
    if (wants('get')) await done('get', await get());
  }
  const sparse = () => watched(hawser, async () => sparseLines(await sparseCase(hawser, means.folder, means)));
  const finish = () => watched(hawser, async () => finishLines(await finishCase(hawser, means.folder, means)));
  if (wants('sparse')) await done('sparse', await sparse());
  if (wants('finish')) await done('finish', await finish());
}

async function overTls({ means, done }: Bench, hash: HashResult | undefined): Promise<void> {
  await using hawser = await startHawser(means.folder, true);
  await using nginx = await startNginxSide({ tls: true });
  const both = { ...means, hawser, nginx };
  const lines = await watched(hawser, async () =>
    pairLines([...(await putPairs(both, ', TLS')), ...(await storedPairs(both, ', TLS'))], hash),
  );
  await done('tls', lines);
}

async function storedPairs(means: PairMeans, label: string): Promise<readonly Pair[]> {
  for (const side of [means.hawser, means.nginx]) await side.store(means.whole.file, means.size);
  return getPairs(means, label);
}

/** With how much memory the server took while it was done. */
async function watched(hawser: HawserSide, work: () => Promise<Lines>): Promise<Lines> {
  using memory = new MemoryWatch(hawser.servePid);
  const lines = await work();
  return [...lines, '', memoryLine('the serving process', memory.bytes)];
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

await main();
