import type { ImageioAlone, ImageioResult } from './imageio.ts';
import type { ImageioRow, Transport } from './imageio-row.ts';
import { cpuOf, rateOf, secondsOf } from './rivals.ts';

type Lines = readonly string[];

const GiB = 2 ** 30;
const MiB = 2 ** 20;

/** CPU s/GiB of the original, measured on a machine like ours: from its best to its worst case. */
const original: Readonly<Record<'PUT' | 'GET', Readonly<Record<Transport, readonly [number, number]>>>> = {
  PUT: { HTTP: [0.26, 0.56], unix: [0.26, 0.51], HTTPS: [0.87, 1.3] },
  GET: { HTTP: [0.31, 0.32], unix: [0.31, 0.32], HTTPS: [0.78, 0.78] },
};
/** Of its worst. */
const most: Readonly<Record<Transport, number>> = { HTTP: 1.1, unix: 1.1, HTTPS: 1.5 };
const PUT_OF_NGINX = 0.7;

export function imageioSection(result: ImageioResult, table: (head: Lines, rows: readonly Lines[]) => Lines): Lines {
  const { files, nbd, alone, memory, sparse } = result;
  return [
    'A whole `hawser serve`, its clients are curl. Images are files in the page cache, in turn with nginx (WebDAV PUT, GET with `sendfile`) over the same transport; neither',
    'flushes but where it says so. CPU is of the server. The original (ovirt-imageio 2.5.3) was measured elsewhere, on a machine like this one: its best and its worst CPU s/GiB;',
    'ours may be 1.1 times its worst, over HTTPS 1.5 times, and is to be below its best.',
    '',
    ...table(heads('nginx'), files.map(rowOf)),
    '',
    'Images behind one `qemu-nbd` (raw, a unix socket), flushed, in turn with nbdcopy from a file or to nowhere, with as many connections. CPU is of Hawser alone, and of nbdcopy.',
    '',
    ...table(heads('nbdcopy'), nbd.map(rowOf)),
    '',
    `Sparse: ${sparse.size / GiB} GiB with ${Math.round(sparse.data / MiB)} MiB of data. The original ships the zeros: 38 s for 20 GiB with 1 GiB of data; the floor is a tenth.`,
    '',
    ...table(['over HTTP', 'of GiB', 'seconds', 'at most', 'CPU seconds'], alone.map(aloneOf)),
    '',
    `Most memory of its own (RssAnon) of the serving process meanwhile, all of Hawser in it: ${Math.round(memory / MiB)} MiB. The original: 33 to 59 MiB for its door alone.`,
  ];
}

function heads(peer: string): Lines {
  const rates = ['case', 'Hawser MiB/s', `${peer} MiB/s`, 'ratio', 'at least'];
  return [...rates, 'Hawser CPU s/GiB', 'original', 'at most', `${peer} CPU s/GiB`];
}

function rowOf(row: ImageioRow): Lines {
  const { way, transport, name, bytes, hawser, peer } = row;
  const [best, worst] = original[way][transport];
  const [cpu, limit] = [cpuOf(hawser, bytes), worst * most[transport]];
  const ratio = peer && secondsOf(peer.samples) / secondsOf(hawser);
  const least = way === 'PUT' && peer?.name === 'nginx' ? PUT_OF_NGINX : undefined;
  const isBelow = ratio !== undefined && least !== undefined && ratio < least;
  return [
    `${way}, ${name}, ${transport}`,
    rateOf(hawser, bytes).toFixed(0),
    peer === undefined ? '' : rateOf(peer.samples, bytes).toFixed(0),
    ratio === undefined ? '' : `${ratio.toFixed(2)}${isBelow ? ' (below)' : ''}`,
    least?.toFixed(1) ?? '',
    `${cpu.toFixed(2)}${cpu > limit ? ' (above)' : ''}`,
    best === worst ? best.toFixed(2) : `${best.toFixed(2)}–${worst.toFixed(2)}`,
    limit.toFixed(2),
    peer === undefined ? '' : cpuOf(peer.samples, bytes).toFixed(2),
  ];
}

function aloneOf({ name, bytes, samples, floorSeconds }: ImageioAlone): Lines {
  const seconds = secondsOf(samples);
  return [
    name,
    (bytes / GiB).toFixed(2),
    `${seconds.toFixed(3)}${floorSeconds !== undefined && seconds > floorSeconds ? ' (above)' : ''}`,
    floorSeconds?.toFixed(1) ?? '',
    cpuOf(samples, GiB).toFixed(2),
  ];
}
