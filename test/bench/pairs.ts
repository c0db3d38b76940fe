import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { warmPageCache, writeRandom } from './files.ts';
import { measured, median, type Sample } from './measure.ts';
import type { Part, Side } from './side.ts';

export interface Pair {
  readonly name: string;
  readonly bytes: number;
  readonly hawser: readonly Sample[];
  readonly nginx: readonly Sample[];
}

export interface PairMeans {
  readonly hawser: Side;
  readonly nginx: Side;
  readonly rounds: number;
  readonly size: number;
  readonly folder: string;
  /** The whole as one file, and as four. */
  readonly whole: Part;
  readonly quarters: readonly Part[];
  readonly note: (text: string) => void;
}

/** PUT with one and with four streams, round by round in turn, after one round that does not count. */
export function putPairs(means: PairMeans, label: string): Promise<readonly Pair[]> {
  const put = (parts: readonly Part[]) => async (side: Side) => {
    const one = await side.put(parts, means.size);
    await settleDisk();
    // A virtual machine gives free memory back to its host within seconds; whoever touches it next pays.
    await warmPageCache(means.folder, 1.25 * means.size);
    const sample = await measured(side.pid, one.send);
    await one.remove();
    return sample;
  };
  return inTurn(means, [
    { name: `PUT, 1 stream${label}`, run: put([means.whole]) },
    { name: `PUT, 4 streams${label}`, run: put(means.quarters) },
  ]);
}

/** GET with one and with four streams, from the page cache. */
export function getPairs(means: PairMeans, label: string): Promise<readonly Pair[]> {
  const get = (streams: number) => (side: Side) => measured(side.pid, () => side.get(streams, means.size));
  return inTurn(means, [
    { name: `GET, 1 stream${label}`, run: get(1) },
    { name: `GET, 4 streams${label}`, run: get(4) },
  ]);
}

interface Contest {
  readonly name: string;
  readonly run: (side: Side) => Promise<Sample>;
}

async function inTurn(means: PairMeans, contests: readonly Contest[]): Promise<readonly Pair[]> {
  const pairs: Pair[] = [];
  for (const { name, run } of contests) {
    const samples = { hawser: [] as Sample[], nginx: [] as Sample[] };
    for (let round = 0; round <= means.rounds; round++) {
      // Who begins changes, so that neither always finds what the other left.
      for (const side of round % 2 === 0 ? [means.nginx, means.hawser] : [means.hawser, means.nginx]) {
        const sample = await run(side);
        if (round > 0) samples[side.name].push(sample);
      }
    }
    const pair = { name, bytes: means.size, ...samples };
    means.note(`${name}: ${wallRatio(pair).toFixed(2)} x nginx, ${cpuPerGiB(pair, 'hawser').toFixed(2)} CPU s/GiB`);
    pairs.push(pair);
  }
  return pairs;
}

/** How fast compared with nginx, from the medians: above 1 is faster. */
export function wallRatio({ hawser, nginx }: Pair): number {
  return median(nginx.map(({ seconds }) => seconds)) / median(hawser.map(({ seconds }) => seconds));
}

export function cpuPerGiB(pair: Pair, side: 'hawser' | 'nginx'): number {
  return median(pair[side].map(({ cpuSeconds }) => cpuSeconds)) / (pair.bytes / 2 ** 30);
}

/** Everything earlier is on the disk, so that nobody pays for another's bytes. */
export async function settleDisk(): Promise<void> {
  await promisify(execFile)('sync');
}

/** The dense file, whole and in quarters. */
export async function makeParts(folder: string, size: number): Promise<Pick<PairMeans, 'whole' | 'quarters'>> {
  const whole = { file: join(folder, 'whole'), offset: 0, length: size };
  await writeRandom(whole.file, size);
  const quarters: Part[] = [];
  for (let i = 0; i < 4; i++) {
    const part = { file: join(folder, `quarter-${i}`), offset: (i * size) / 4, length: size / 4 };
    await promisify(execFile)('dd', [
      ...[
        `if=${whole.file}`,
        `of=${part.file}`,
        'bs=1M',
        `skip=${part.offset / 2 ** 20}`,
        `count=${part.length / 2 ** 20}`,
      ],
      'status=none',
    ]);
    quarters.push(part);
  }
  return { whole, quarters };
}
