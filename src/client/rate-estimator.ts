/** Speed over the last seconds and the time left; the clock is an argument of each call. */
export class RateEstimator {
  readonly #windowMs: number;
  readonly #samples: { readonly at: number; readonly done: number }[] = [];

  constructor(windowMs = 10_000) {
    this.#windowMs = windowMs;
  }

  /** `done` is the whole number of bytes so far, at `now` in milliseconds. */
  add(now: number, done: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && now - last.at < 100) this.#samples.pop();
    this.#samples.push({ at: last !== undefined && now - last.at < 100 ? last.at : now, done });
    while (this.#samples.length > 2 && now - (this.#samples[1]?.at ?? now) > this.#windowMs) this.#samples.shift();
  }

  /** Bytes per second; null until there is something to say. */
  rate(now: number): number | null {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || now - first.at < 500) return null;
    return Math.max(0, ((last.done - first.done) * 1000) / (now - first.at));
  }

  /** Seconds; null when it cannot be told. */
  secondsLeft(now: number, total: number | null): number | null {
    const rate = this.rate(now);
    const last = this.#samples.at(-1);
    if (rate === null || rate <= 0 || total === null || last === undefined) return null;
    return Math.max(0, (total - last.done) / rate);
  }
}
