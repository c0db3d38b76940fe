import type { Slab, SlabPool } from './slab-pool.ts';

/** What the mover has while it moves anything; one or two a connection keep it busy. */
const MOST = 8;

const ofPool = new WeakMap<SlabPool, MoverSlabs>();

/** The slabs of a pool that are with the mover: taken with the first move, given back with the last. */
export class MoverSlabs {
  readonly #pool: SlabPool;
  #slabs: readonly Slab[] = [];
  #moves = 0;

  private constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  static of(pool: SlabPool): MoverSlabs {
    const known = ofPool.get(pool) ?? new MoverSlabs(pool);
    ofPool.set(pool, known);
    return known;
  }

  get all(): readonly Slab[] {
    return this.#slabs;
  }

  /** For one move. Undefined when others need them more. */
  borrow(): (Disposable & { readonly all: readonly Slab[] }) | undefined {
    if (this.#moves === 0) this.#slabs = this.#take();
    if (this.#slabs.length === 0) return undefined;
    this.#moves++;
    return { all: this.#slabs, [Symbol.dispose]: () => this.#left() };
  }

  #take(): readonly Slab[] {
    const slabs: Slab[] = [];
    while (slabs.length < MOST) {
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
