import { type Range, rangeEnd } from '../core/range.ts';

interface Held extends Range {
  readonly alone: boolean;
  readonly released: Promise<void>;
}

/**
 * Keeps those who read a block, change a part of it and write it back apart from all others who write there.
 * Ranges that nobody holds alone may overlap as they like.
 */
export class OverlapGuard {
  readonly #held = new Set<Held>();

  /** Runs `work` once nobody holds what this must not overlap; in order, so nobody waits for ever. */
  async hold<T>(range: Range, alone: boolean, work: () => Promise<T>): Promise<T> {
    const before = [...this.#held].filter((other) => (alone || other.alone) && overlaps(other, range));
    const released = Promise.withResolvers<void>();
    const mine = { ...range, alone, released: released.promise };
    this.#held.add(mine);
    try {
      for (const other of before) await other.released;
      return await work();
    } finally {
      this.#held.delete(mine);
      released.resolve();
    }
  }
}

function overlaps(a: Range, b: Range): boolean {
  return a.offset < rangeEnd(b) && b.offset < rangeEnd(a);
}
