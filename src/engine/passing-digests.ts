import type { FlatAlgorithm, HashPool, HashStream } from './hash-pool.ts';
import type { Slab } from './slab-pool.ts';

/** More zeros than this in one range are not worth hashing now: a Task computes the digest afterwards. */
const MOST_ZEROS = 1024 * 1024 * 1024;

/**
 * Flat digests computed as the bytes pass, as long as they come in order from the beginning and nothing
 * breaks. When that fails the digests are simply not there.
 */
export class PassingDigests {
  readonly #streams: ReadonlyMap<FlatAlgorithm, HashStream>;
  #position: number | undefined = 0;
  #busy = false;

  constructor(hashes: HashPool, algorithms: readonly FlatAlgorithm[]) {
    this.#streams = new Map(algorithms.map((algorithm) => [algorithm, hashes.stream(algorithm)]));
  }

  /** The watcher for a body that begins at `offset`, if it is the one that goes on. `release` when it has ended. */
  join(
    offset: number,
  ): ((slab: Slab, from: number, to: number, offset: number) => Promise<void> | undefined) | undefined {
    if (this.#busy || this.#position !== offset || this.#streams.size === 0) return undefined;
    this.#busy = true;
    return (slab, from, to) => {
      if (this.#position === undefined) return undefined;
      this.#position += to - from;
      return Promise.all([...this.#streams.values()].map((stream) => stream.update(slab, from, to))).then(() => {});
    };
  }

  release(outcome: 'whole' | 'broken'): void {
    this.#busy = false;
    if (outcome === 'broken') this.abandon();
  }

  async zeros(offset: number, length: number): Promise<void> {
    if (this.#busy || this.#position !== offset) return;
    if (length > MOST_ZEROS) return this.abandon();
    this.#position += length;
    await Promise.all([...this.#streams.values()].map((stream) => stream.zeros(length)));
  }

  abandon(): void {
    if (this.#position === undefined) return;
    this.#position = undefined;
    for (const stream of this.#streams.values()) stream.drop();
  }

  /** algorithm to hex; empty when not all `size` bytes passed in order. */
  async finish(size: number): Promise<Readonly<Record<string, string>>> {
    if (this.#position !== size || this.#busy) {
      this.abandon();
      return {};
    }
    this.#position = undefined;
    const entries = [...this.#streams].map(
      async ([algorithm, stream]) => [algorithm, (await stream.digest()).toString('hex')] as const,
    );
    return Object.fromEntries(await Promise.all(entries));
  }
}
