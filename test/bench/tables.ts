import type { FinishResult, HashResult, SparseResult } from './alone.ts';
import type { ChunkRivals, ChunksResult, ChunkWay } from './chunks.ts';
import type { ImageioResult } from './imageio.ts';
import { imageioSection } from './imageio-page.ts';
import { median, type Sample } from './measure.ts';
import type { NbdResult, NbdRivals } from './nbd.ts';
import { cpuPerGiB, type Pair, wallRatio } from './pairs.ts';
import { type ReplicateWay, replicateWays } from './replicate.ts';
import { cpuOf, type Rivals, rateOf, secondsOf } from './rivals.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** The lines of a section, without its title. */
export type Lines = readonly string[];

export function sizeOf(bytes: number): string {
  return bytes % GiB === 0 ? `${bytes / GiB} GiB` : `${Math.round(bytes / MiB)} MiB`;
}

export function memoryLine(who: string, bytes: number): string {
  return `Most memory of its own (RssAnon) of ${who} meanwhile: ${Math.round(bytes / MiB)} MiB. Floor: 200 MB.`;
}

/** PUT and GET in turn with nginx. */
export function pairLines(pairs: readonly Pair[], hash: HashResult | undefined): Lines {
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
  const heads = ['case', 'Hawser MiB/s', 'nginx MiB/s', 'ratio', 'at least', 'Hawser CPU s/GiB'];
  return [
    'Hawser is what `npm start` starts (sign-in, journal and PostgreSQL on), addressed as its clients are told to: the data listener with a ticket. nginx is a',
    'plain file server: WebDAV PUT without any digest, journal or sync, GET with `sendfile`. Both are driven by curl. CPU is of the server alone, with all its',
    'processes and threads.',
    '',
    ...table([...heads, 'before hashing', 'at most', 'nginx CPU s/GiB'], rows),
  ];
}

export function hashLines(hash: HashResult): Lines {
  return [
    `tree-sha256 of 1 GiB in ${hash.threads} worker thread(s), without anything else: ${hash.seconds.toFixed(2)} s, ${hashPerGiB(hash).toFixed(2)} CPU s/GiB. Every byte that lands pays it; nginx computes none.`,
  ];
}

export function sparseLines({ data, sparseSize, up, down, cliMemory }: SparseResult): Lines {
  const row = (way: string, { dense, sparse }: { readonly dense: number; readonly sparse: number }) => [
    way,
    `${dense.toFixed(2)} s`,
    `${sparse.toFixed(2)} s`,
    `${(sparse / dense).toFixed(2)}${sparse / dense > 1.3 ? ' (above)' : ''}`,
    '1.3',
  ];
  return [
    ...table(
      ['by the CLI', `${sizeOf(data)} dense`, `${sizeOf(sparseSize)} with ${sizeOf(data)} of data`, 'ratio', 'at most'],
      [row('upload', up), row('download', down)],
    ),
    '',
    memoryLine('the CLI', cliMemory),
  ];
}

export function finishLines(finish: readonly FinishResult[]): Lines {
  return [
    ...finishTable('finish', finish),
    '',
    'Nothing is copied or read again; what is left to do is to sync the last bytes and to hash 32 bytes a MiB. Floor: independent of the size.',
  ];
}

export function imageioLines(result: ImageioResult): Lines {
  return imageioSection(result, table);
}

export function nbdLines({ copies, extents, sparse }: NbdResult): Lines {
  const row = ({ name, bytes, samples: { hawser, peer } }: NbdRivals) => [
    name,
    rateOf(hawser, bytes).toFixed(0),
    rateOf(peer, bytes).toFixed(0),
    (secondsOf(peer) / secondsOf(hawser)).toFixed(2),
    cpuOf(hawser, bytes).toFixed(2),
    cpuOf(peer, bytes).toFixed(2),
  ];
  const ms = (samples: readonly Sample[]) => `${(1000 * secondsOf(samples)).toFixed(0)} ms`;
  return [
    'Our client and nbdcopy as processes of their own with one qemu-nbd over a raw file in the page cache; `write` flushes. CPU is of the client. qemu-nbd has one thread',
    'however many connections there are.',
    '',
    ...table(['', 'Hawser MiB/s', 'nbdcopy MiB/s', 'ratio', 'Hawser CPU s/GiB', 'nbdcopy CPU s/GiB'], copies.map(row)),
    '',
    `Extents of ${sizeOf(sparse.size)} with ${sizeOf(sparse.data)} of data: ${ms(extents.samples.hawser)}; \`nbdinfo --map\`, with its start: ${ms(extents.samples.peer)}.`,
  ];
}

export function replicateLines(results: readonly Rivals<ReplicateWay>[], size: number): Lines {
  const speed = results.map(({ name, bytes, samples }) => [
    name,
    ...replicateWays.map((way) => {
      const ratio = secondsOf(samples[way]) / secondsOf(samples.hawser);
      return `${rateOf(samples[way], bytes).toFixed(0)}${way === 'hawser' ? '' : ` (${ratio.toFixed(2)})`}`;
    }),
  ]);
  const cpu = results.map(({ name, bytes, samples }) => [
    name,
    ...replicateWays.map((way) => cpuOf(samples[way], bytes).toFixed(2)),
  ]);
  const ways = replicateWays.map((way) => (way === 'hawser' ? 'Hawser' : `\`${way}\``));
  return [
    `One more Copy of an Image, from agent to agent; control, both agents and PostgreSQL are processes of their own. From \`POST /images/{id}/copies\` until the Task is`,
    `SUCCESS. Dense: ${sizeOf(size)}; sparse: ${sizeOf(8 * size)} with ${sizeOf(size / 2)} of data. TLS: as agents have it on any address but loopback; plain: without. rsync is`,
    '`rsync --sparse --inplace` from its own daemon over loopback, without encryption; cp is `cp --sparse=always`, one process and no network.',
    '',
    'They do not do the same. Hawser compares each MiB with its SHA-256 and the whole with the tree digest, keeps a journal to go on from, and has synced the file',
    'when the Task ends. rsync compares one fast checksum of the whole file and syncs with `--fsync` alone; cp compares nothing and syncs nothing, hence the `sync`.',
    'rsync reads the holes too and finds zeros in them; cp and Hawser ask the filesystem where they are.',
    '',
    'MiB of data a second; in brackets how fast Hawser is in comparison (above 1: faster):',
    '',
    ...table(['image, agents', ...ways], speed),
    '',
    'CPU seconds a GiB of data, of all processes of each side (Hawser: control, PostgreSQL, both agents):',
    '',
    ...table(['image, agents', ...ways], cpu),
  ];
}

export function chunkLines({ contests, finish }: ChunksResult): Lines {
  const rows = contests.flatMap((contest) => chunkRows(contest));
  return [
    'The dense image in pieces of 20 MiB, four at a time, each by a curl of its own, until it is finished. By chunks: `uploadServerStart`, `chunkPrepare` and',
    '`chunkUpload` (multipart) of each, `chunkCoalesce`; control relays them to the upload server on the agent. Native: PUT of the same pieces and `finish`, through',
    "control's relay or straight to the agent's data listener. TLS: between control and the agent, and at the data listener; plain: nowhere. Control's own listener",
    'is plain in both. Servers are control, PostgreSQL and the agent. The SHA-512 of each chunk is computed beforehand for the client, and by the agent for itself',
    'on top of the tree digest. The SHA-512 of the whole, which Longhorn shows, is computed by a Task when all is finished, and in no other figure.',
    '',
    ...table(
      ['way', 'MiB/s', 'by chunks in comparison', 'servers CPU s/GiB', 'curl CPU s/GiB', 'SHA-512 Task afterwards'],
      rows,
    ),
    '',
    ...finishTable('chunkCoalesce', finish),
    '',
    'Floor: independent of the size.',
  ];
}

const chunkNames = {
  longhorn: 'by chunks',
  relay: "native PUT, control's relay",
  data: 'native PUT, data listener',
} as const satisfies Record<ChunkWay, string>;

function chunkRows({ name, bytes, samples }: ChunkRivals): readonly Lines[] {
  const row = (way: ChunkWay) => {
    const ratio = secondsOf(samples[way]) / secondsOf(samples.longhorn);
    const sums = samples[way].map(({ checksum }) => checksum).filter((checksum) => checksum !== undefined);
    return [
      `${chunkNames[way]}, ${name}`,
      rateOf(samples[way], bytes).toFixed(0),
      way === 'longhorn' ? '' : ratio.toFixed(2),
      cpuOf(samples[way], bytes).toFixed(2),
      (median(samples[way].map(({ clientCpuSeconds }) => clientCpuSeconds)) / (bytes / GiB)).toFixed(2),
      sums.length === 0 ? '' : `${secondsOf(sums).toFixed(2)} s, ${cpuOf(sums, bytes).toFixed(2)} CPU s/GiB`,
    ];
  };
  return [row('longhorn'), row('relay'), row('data')];
}

function finishTable(what: string, finish: readonly FinishResult[]): Lines {
  const rows = finish.map(({ size, data, seconds }) => [
    sizeOf(size),
    sizeOf(data),
    `${(seconds * 1000).toFixed(0)} ms`,
  ]);
  return table(['image', 'of it data', what], rows);
}

function hashPerGiB({ cpuSeconds, bytes }: HashResult): number {
  return cpuSeconds / (bytes / GiB);
}

function rate(pair: Pair, side: 'hawser' | 'nginx'): string {
  return (pair.bytes / MiB / median(pair[side].map(({ seconds }) => seconds))).toFixed(0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): Lines {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}
