/** Asks how long to wait after `bytes` have moved; milliseconds, 0 for not at all. */
export interface RateLimit {
  spend(bytes: number): number;
}

/**
 * A token bucket of half a second. Spending is never refused, it leaves a debt and the answer says how
 * long the debt takes, so that one large chunk cannot starve.
 */
export class TokenBucket implements RateLimit {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #now: () => number;
  #tokens: number;
  #at: number;

  /** `rate` in bytes per second; `now` in milliseconds, monotonic. */
  constructor(rate: number, now: () => number) {
    this.#perMs = rate / 1000;
    this.#burst = rate / 2;
    this.#tokens = this.#burst;
    this.#now = now;
    this.#at = now();
  }

  spend(bytes: number): number {
    const now = this.#now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perMs) - bytes;
    this.#at = now;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMs;
  }
}

/** All of them at once: the longest wait counts. */
export function allOf(limits: readonly RateLimit[]): RateLimit | undefined {
  if (limits.length === 0) return undefined;
  return { spend: (bytes) => limits.reduce((wait, limit) => Math.max(wait, limit.spend(bytes)), 0) };
}
