/** How many may be under way at once; the others wait in order. */
export class Slots {
  readonly #waiting = new Set<{ readonly go: () => void; readonly fail: (reason: unknown) => void }>();
  #free: number;
  #closed: { readonly reason: unknown } | undefined;

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves when one is taken. Rejects with the signal's reason, or with that of `close`. */
  take(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed.reason);
      if (signal?.aborted === true) return reject(signal.reason);
      if (this.#free > 0) {
        this.#free--;
        return resolve();
      }
      const leave = () => {
        this.#waiting.delete(entry);
        signal?.removeEventListener('abort', abort);
      };
      const entry = {
        go: () => {
          leave();
          resolve();
        },
        fail: (reason: unknown) => {
          leave();
          reject(reason);
        },
      };
      const abort = () => entry.fail(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.add(entry);
    });
  }

  giveBack(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#free++;
    else next.go();
  }

  close(reason: unknown): void {
    this.#closed = { reason };
    for (const waiting of [...this.#waiting]) waiting.fail(reason);
  }
}
