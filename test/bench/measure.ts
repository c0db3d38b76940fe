import { cpuSeconds, rssAnon, withDescendants } from '../wire/proc.ts';

export interface Sample {
  readonly seconds: number;
  /** Of all processes of the server. */
  readonly cpuSeconds: number;
}

/** Runs `work` and says how long it took and what the server with this main process spent on it. */
export async function measured(serverPid: number, work: () => Promise<void>): Promise<Sample> {
  const pids = await withDescendants(serverPid);
  const cpuBefore = await cpuSeconds(pids);
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  const now = await withDescendants(serverPid);
  return { seconds, cpuSeconds: (await cpuSeconds([...new Set([...pids, ...now])])) - cpuBefore };
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
