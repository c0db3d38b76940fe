import { warmPageCache } from './files.ts';
import { median, type Sample } from './measure.ts';
import { settleDisk } from './pairs.ts';

/** Several ways to do one thing, measured in turn. */
export interface Rivals<Way extends string, S extends Sample = Sample> {
  readonly name: string;
  /** What rates and CPU are reckoned by: bytes that are not holes. */
  readonly bytes: number;
  readonly samples: Readonly<Record<Way, readonly S[]>>;
}

export interface Contest<Way extends string, S extends Sample> {
  readonly name: string;
  readonly bytes: number;
  readonly rounds: number;
  readonly folder: string;
  /** Each once; what is done before and after is not in its sample. */
  readonly ways: Readonly<Record<Way, () => Promise<S>>>;
}

/** After one round that does not count, round by round; who begins changes, so that nobody always finds what the same one left. */
export async function rival<Way extends string, S extends Sample>(contest: Contest<Way, S>): Promise<Rivals<Way, S>> {
  const ways = entriesOf(contest.ways);
  const samples = Object.fromEntries(ways.map(([way]) => [way, []])) as unknown as Record<Way, S[]>;
  for (let round = 0; round <= contest.rounds; round++) {
    const first = round % ways.length;
    for (const [way, run] of [...ways.slice(first), ...ways.slice(0, first)]) {
      await settleDisk();
      // A virtual machine gives free memory back to its host within seconds; whoever touches it next pays.
      await warmPageCache(contest.folder, 1.25 * contest.bytes);
      const sample = await run();
      if (round > 0) samples[way].push(sample);
    }
  }
  return { name: contest.name, bytes: contest.bytes, samples };
}

/** MiB a second, the median. */
export function rateOf(samples: readonly Sample[], bytes: number): number {
  return bytes / 2 ** 20 / secondsOf(samples);
}

export function secondsOf(samples: readonly Sample[]): number {
  return median(samples.map(({ seconds }) => seconds));
}

export function cpuOf(samples: readonly Sample[], bytes: number): number {
  return median(samples.map(({ cpuSeconds }) => cpuSeconds)) / (bytes / 2 ** 30);
}

function entriesOf<Key extends string, Value>(
  record: Readonly<Record<Key, Value>>,
): readonly (readonly [Key, Value])[] {
  return Object.entries(record) as [Key, Value][];
}
