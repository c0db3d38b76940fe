const MiB = 1024 * 1024;
const SMALLEST = 256 * 1024;
/** Slower than this and the next one is half: a proxy that gives up after 90 s is three times as patient. */
const SLOW_MS = 20_000;
const FAST_MS = 8_000;

/**
 * How large the next PUT should be. Begins small and doubles while PUTs are quick, halves when they
 * are slow, stall, or something on the way refuses their size; a refused size is not tried again.
 */
export class ChunkSizer {
  #current: number;
  #ceiling: number;

  constructor(most: number) {
    this.#ceiling = Math.max(SMALLEST, most);
    this.#current = Math.min(MiB, this.#ceiling);
  }

  /** Bytes; a power of two times 256 KiB or the ceiling, so that cuts fall on multiples of it. */
  get current(): number {
    return this.#current;
  }

  get smallest(): boolean {
    return this.#current <= SMALLEST;
  }

  succeeded(bytes: number, milliseconds: number): void {
    if (milliseconds > SLOW_MS) this.#shrinkBelow(bytes, MiB);
    else if (milliseconds < FAST_MS && bytes >= this.#current) {
      this.#current = Math.min(this.#ceiling, this.#current * 2);
    }
  }

  /** Something on the way does not take `bytes` in one request. */
  refused(bytes: number): void {
    this.#shrinkBelow(bytes, SMALLEST);
    this.#ceiling = Math.min(this.#ceiling, this.#current);
  }

  /** A PUT of `bytes` did not get through in time. */
  stalled(bytes: number): void {
    this.#shrinkBelow(bytes, SMALLEST);
  }

  #shrinkBelow(bytes: number, floor: number): void {
    if (bytes > this.#current) return; // another lane was quicker to say so
    this.#current = Math.min(this.#current, Math.max(floor, largestPowerBelow(bytes)));
  }
}

/** The largest 256 KiB · 2^n smaller than `bytes`, at least 256 KiB. */
function largestPowerBelow(bytes: number): number {
  let size = SMALLEST;
  while (size * 2 < bytes) size *= 2;
  return size;
}
