import type { Mover } from '../core/mover.ts';
import type { Slab, SlabPool } from './slab-pool.ts';

const ofMover = new WeakMap<Mover, MoverSlabs>();

/** The slabs of a pool that are with a mover: taken with the first move, given back with the last. */
export class MoverSlabs {
  readonly #pool: SlabPool;
  #slabs: readonly Slab[] = [];
  #moves = 0;

  private constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  /** Of all moves of `mover`, which come with the same pool. */
  static of(mover: Mover, pool: SlabPool): MoverSlabs {
    const known = ofMover.get(mover) ?? new MoverSlabs(pool);
    ofMover.set(mover, known);
    return known;
  }

  get all(): readonly Slab[] {
    return this.#slabs;
  }

  /** For one move; the first one decides that there are at most `most`. Undefined when others need them more. */
  borrow(most: number): (Disposable & { readonly all: readonly Slab[] }) | undefined {
    if (this.#moves === 0) this.#slabs = this.#take(most);
    if (this.#slabs.length === 0) return undefined;
    this.#moves++;
    return { all: this.#slabs, [Symbol.dispose]: () => this.#left() };
  }

  #take(most: number): readonly Slab[] {
    const slabs: Slab[] = [];
    while (slabs.length < most) {
      const slab = this.#pool.tryAcquire(0.5);
      if (slab === undefined) return slabs;
      slabs.push(slab);
    }
    return slabs;
  }

  #left(): void {
    this.#moves--;
    if (this.#moves > 0) return;
    for (const slab of this.#slabs) this.#pool.release(slab);
    this.#slabs = [];
  }
}
