import type { HawserError } from '../../core/errors.ts';

/** What changes bytes or ranges of one Upload at this moment, so that it can be ended and its end waited for. */
export class UnderWay {
  readonly #running = new Map<AbortController, Promise<void>>();
  #shut: HawserError | undefined;
  #closed = false;

  /** How many. */
  get count(): number {
    return this.#running.size;
  }

  /** Why nothing more may begin, while that is so. Whoever begins asks first. */
  get shut(): HawserError | undefined {
    return this.#shut;
  }

  async run<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
    const stop = new AbortController();
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#running.set(stop, ended);
    try {
      return await work(stop.signal);
    } catch (error) {
      // What fails because it was stopped (the writer is closed by then) is told as what stopped it.
      throw stop.signal.aborted ? stop.signal.reason : error;
    } finally {
      this.#running.delete(stop);
      resolve();
    }
  }

  /** Ends all of it with `reason`; new ones may begin. */
  abort(reason: HawserError): void {
    for (const stop of this.#running.keys()) stop.abort(reason);
  }

  /** Lets nothing more begin and ends what runs; resolves when it has ended. */
  async shutWith(reason: HawserError): Promise<void> {
    if (!this.#closed) this.#shut = reason;
    this.abort(reason);
    await Promise.all(this.#running.values());
  }

  open(): void {
    if (!this.#closed) this.#shut = undefined;
  }

  /** As `shutWith`, for good. */
  async close(reason: HawserError): Promise<void> {
    this.#shut = reason;
    this.#closed = true;
    await this.shutWith(reason);
  }
}
