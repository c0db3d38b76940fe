import { readFile } from 'node:fs/promises';
import { cpuSeconds, rssAnon, withDescendants } from '../wire/proc.ts';

export interface Sample {
  readonly seconds: number;
  /** Of all processes that are looked at. */
  readonly cpuSeconds: number;
}

/** Runs `work` and says how long it took and what the servers with these main processes spent on it. */
export async function measured(servers: number | readonly number[], work: () => Promise<void>): Promise<Sample> {
  const mains = typeof servers === 'number' ? [servers] : servers;
  const pids = await allOf(mains);
  const cpuBefore = await cpuSeconds(pids);
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  const now = await allOf(mains);
  return { seconds, cpuSeconds: (await cpuSeconds([...new Set([...pids, ...now])])) - cpuBefore };
}

async function allOf(mains: readonly number[]): Promise<readonly number[]> {
  return (await Promise.all(mains.map(withDescendants))).flat();
}

/** Runs `work` and says how long it took and what the processes spent that it started and that have ended. */
export async function measuredChildren(work: () => Promise<void>): Promise<Sample> {
  const before = await childSeconds();
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  return { seconds, cpuSeconds: (await childSeconds()) - before };
}

/** CPU of the children that have ended: cutime and cstime, fields 16 and 17 of proc(5)'s stat. */
export async function childSeconds(): Promise<number> {
  const stat = await readFile('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** Most memory of its own (RssAnon) that each process of a server had while it was watched; bytes. */
export class MemoryWatch implements Disposable {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  #most = 0;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => void this.#look(), 200);
  }

  get bytes(): number {
    return this.#most;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    this.#most = Math.max(this.#most, await rssAnon(this.#pid));
  }
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [left = Number.NaN, right = Number.NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? right : (left + right) / 2;
}
