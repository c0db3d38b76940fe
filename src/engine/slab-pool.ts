import { HawserError } from '../core/errors.ts';

/** Bytes of a slab: one block of the digest tree. */
export const SLAB_BYTES = 1024 * 1024;

let nextIndex = 0;

/** A buffer on loan. Shared memory, so that hash workers read it without a copy. */
export interface Slab {
  /** Its own in the whole process, also among several pools; workers know the slab by it. */
  readonly index: number;
  readonly shared: SharedArrayBuffer;
  readonly bytes: Buffer;
}

/**
 * A fixed number of 1 MiB buffers: what bounds the memory of everything that moves. They are made when
 * first needed. Who waits is served in order.
 */
export class SlabPool {
  readonly #capacity: number;
  readonly #free: Slab[] = [];
  readonly #waiting: Array<(slab: Slab) => void> = [];
  readonly #made: Slab[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** True when somebody waits for a slab: whoever holds one half full should let go. */
  get contended(): boolean {
    return this.#waiting.length > 0;
  }

  get inUse(): number {
    return this.#made.length - this.#free.length;
  }

  /** A slab if one is free; with `keep`, only while more than that share (0 to 1) of all would stay free for others. */
  tryAcquire(keep = 0): Slab | undefined {
    if (keep > 0 && this.#capacity - this.inUse <= this.#capacity * keep) return undefined;
    const slab = this.#free.pop();
    if (slab !== undefined) return slab;
    if (this.#made.length >= this.#capacity) return undefined;
    const shared = new SharedArrayBuffer(SLAB_BYTES);
    const made: Slab = { index: nextIndex++, shared, bytes: Buffer.from(shared) };
    this.#made.push(made);
    return made;
  }

  /** Waits for a slab. Rejects with the signal's reason. */
  acquire(signal?: AbortSignal): Promise<Slab> {
    const slab = this.tryAcquire();
    if (slab !== undefined) return Promise.resolve(slab);
    return new Promise((resolve, reject) => {
      const give = (given: Slab) => {
        signal?.removeEventListener('abort', leave);
        resolve(given);
      };
      const leave = () => {
        const place = this.#waiting.indexOf(give);
        if (place >= 0) this.#waiting.splice(place, 1);
        reject(signal?.reason ?? new HawserError('cancelled', 'The wait for a buffer was given up.'));
      };
      if (signal?.aborted) return leave();
      this.#waiting.push(give);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }

  /** Gives the slab back. Nobody may look at it afterwards. */
  release(slab: Slab): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(slab);
    else next(slab);
  }
}
