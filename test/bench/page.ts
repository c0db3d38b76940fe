import { cpus, release } from 'node:os';
import type { FinishResult, HashResult, SparseResult } from './alone.ts';
import type { ImageioResult } from './imageio.ts';
import { imageioHeads, imageioRows } from './imageio-page.ts';
import { median, type Sample } from './measure.ts';
import type { NbdResult } from './nbd.ts';
import type { BenchOptions } from './options.ts';
import { cpuPerGiB, type Pair, wallRatio } from './pairs.ts';

export interface Results {
  readonly pairs: readonly Pair[];
  readonly hash: HashResult | undefined;
  readonly sparse: SparseResult | undefined;
  readonly finish: readonly FinishResult[] | undefined;
  readonly nbd: readonly NbdResult[] | undefined;
  readonly imageio?: ImageioResult | undefined;
  /** Most memory of its own that the serving process had, over everything; bytes. */
  readonly serveMemory: number;
}

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** docs/benchmarks.md. A floor is where users stop complaining. */
export function benchmarkPage(results: Results, options: BenchOptions, date: Date): string {
  const { pairs, hash, sparse, finish, nbd, imageio } = results;
  return [
    '# Benchmarks',
    '',
    '<!-- Made by `npm run bench`. Run it on a quiet machine. -->',
    '',
    `\`${options.command}\`, ${date.toISOString().slice(0, 10)}: ${options.rounds} round(s) after one that does not count, a dense image of ${sizeOf(options.size)}, medians.`,
    '',
    `Machine: ${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}, Linux ${release()}, node ${process.version}.`,
    '',
    'Hawser is what `npm start` starts (sign-in, journal and PostgreSQL on), addressed as its clients are told to: the data listener with a ticket. nginx is a',
    'plain file server on the same filesystem: WebDAV PUT without any digest, journal or sync, GET with `sendfile`. Both are driven by curl on the same',
    'machine, in turn, each time with everything earlier written back. CPU is of the server alone, with all its processes and threads.',
    ...(pairs.length > 0 ? ['', '## Against nginx', '', ...pairTable(pairs, hash)] : []),
    ...(hash === undefined ? [] : ['', '## What the digest costs', '', ...hashLines(hash)]),
    ...(sparse === undefined ? [] : ['', '## Sparse', '', ...sparseTable(sparse)]),
    ...(finish === undefined ? [] : ['', '## Finish', '', ...finishTable(finish)]),
    ...(nbd === undefined ? [] : ['', '## NBD', '', ...nbdTable(nbd)]),
    ...(imageio === undefined ? [] : ['', '## The imageio door', '', ...imageioTables(imageio)]),
    '',
    '## Memory',
    '',
    `Most memory of its own (RssAnon) of the serving process over all of this: ${Math.round(results.serveMemory / MiB)} MiB${sparse === undefined ? '' : `; of the CLI: ${Math.round(sparse.cliMemory / MiB)} MiB`}. Floor: 200 MB each.`,
    '',
  ].join('\n');
}

function pairTable(pairs: readonly Pair[], hash: HashResult | undefined): readonly string[] {
  const rows = pairs.map((pair) => {
    const put = pair.name.startsWith('PUT');
    const tls = pair.name.includes('TLS');
    const floor = put ? (tls ? 0.6 : 0.5) : tls ? 0.8 : 0.9;
    const ratio = wallRatio(pair);
    const cpu = cpuPerGiB(pair, 'hawser');
    const beforeHashing = hash === undefined || !put ? undefined : cpu - hashPerGiB(hash);
    return [
      pair.name,
      rate(pair, 'hawser'),
      rate(pair, 'nginx'),
      `${ratio.toFixed(2)}${ratio < floor ? ' (below)' : ''}`,
      floor.toFixed(1),
      cpu.toFixed(2),
      beforeHashing === undefined ? '' : `${beforeHashing.toFixed(2)}${!tls && beforeHashing > 0.85 ? ' (above)' : ''}`,
      put && !tls ? '0.85' : '',
      cpuPerGiB(pair, 'nginx').toFixed(2),
    ];
  });
  return table(
    [
      'case',
      'Hawser MiB/s',
      'nginx MiB/s',
      'ratio',
      'at least',
      'Hawser CPU s/GiB',
      'before hashing',
      'at most',
      'nginx CPU s/GiB',
    ],
    rows,
  );
}

function hashLines(hash: HashResult): readonly string[] {
  return [
    `tree-sha256 of 1 GiB in ${hash.threads} worker thread(s), without anything else: ${hash.seconds.toFixed(2)} s, ${hashPerGiB(hash).toFixed(2)} CPU s/GiB. Every byte that lands pays it; nginx computes none.`,
  ];
}

function sparseTable({ data, sparseSize, up, down }: SparseResult): readonly string[] {
  const row = (way: string, { dense, sparse }: { readonly dense: number; readonly sparse: number }) => [
    way,
    `${dense.toFixed(2)} s`,
    `${sparse.toFixed(2)} s`,
    `${(sparse / dense).toFixed(2)}${sparse / dense > 1.3 ? ' (above)' : ''}`,
    '1.3',
  ];
  return table(
    ['by the CLI', `${sizeOf(data)} dense`, `${sizeOf(sparseSize)} with ${sizeOf(data)} of data`, 'ratio', 'at most'],
    [row('upload', up), row('download', down)],
  );
}

function finishTable(finish: readonly FinishResult[]): readonly string[] {
  const rows = finish.map(({ size, data, seconds }) => [
    sizeOf(size),
    sizeOf(data),
    `${(seconds * 1000).toFixed(0)} ms`,
  ]);
  return [
    ...table(['image', 'of it data', 'finish'], rows),
    '',
    'Nothing is copied or read again; what is left to do is to sync the last bytes and to hash 32 bytes a MiB. Floor: independent of the size.',
  ];
}

/** PUT with `flush=n`, as its own client sends bodies and as nginx does it. */
function imageioTables(result: ImageioResult): readonly string[] {
  const rows = imageioRows(result);
  return [...table(imageioHeads.pairs, rows.pairs), '', ...table(imageioHeads.alone, rows.alone)];
}

/** Both clients as processes of their own against one qemu-nbd over a raw file in the page cache; CPU is of the client. */
function nbdTable(results: readonly NbdResult[]): readonly string[] {
  const middle = (samples: readonly Sample[], of: keyof Sample) => median(samples.map((sample) => sample[of]));
  const rows = results.map(({ name, bytes, hawser, nbdcopy }) => [
    name,
    (bytes / MiB / middle(hawser, 'seconds')).toFixed(0),
    (bytes / MiB / middle(nbdcopy, 'seconds')).toFixed(0),
    (middle(nbdcopy, 'seconds') / middle(hawser, 'seconds')).toFixed(2),
    (middle(hawser, 'cpuSeconds') / (bytes / GiB)).toFixed(2),
    (middle(nbdcopy, 'cpuSeconds') / (bytes / GiB)).toFixed(2),
  ]);
  return table(['our client', 'Hawser MiB/s', 'nbdcopy MiB/s', 'ratio', 'Hawser CPU s/GiB', 'nbdcopy CPU s/GiB'], rows);
}

function hashPerGiB({ cpuSeconds, bytes }: HashResult): number {
  return cpuSeconds / (bytes / GiB);
}

function rate(pair: Pair, side: 'hawser' | 'nginx'): string {
  return (pair.bytes / MiB / median(pair[side].map(({ seconds }) => seconds))).toFixed(0);
}

function sizeOf(bytes: number): string {
  return bytes % GiB === 0 ? `${bytes / GiB} GiB` : `${Math.round(bytes / MiB)} MiB`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}
