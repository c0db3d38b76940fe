import { type BackoffLimits, backoffMs, defaultBackoff } from '../core/backoff.ts';
import { type HawserError, toHawserError } from '../core/errors.ts';
import type { Clock } from './ports.ts';
import type { Waiting } from './upload-progress.ts';

export interface PatienceOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly backoff?: BackoffLimits;
  /** Without any success for so long it gives up, milliseconds. */
  readonly giveUpMs: number;
  readonly onWaiting: (waiting: Waiting | null) => void;
}

/** Waits as long as an error may pass by itself, and throws it when it will not. Shared by all lanes. */
export class Patience {
  readonly #options: PatienceOptions;
  #attempt = 0;
  #failingSince: number | undefined;
  #waitingUntil = Number.NEGATIVE_INFINITY;

  constructor(options: PatienceOptions) {
    this.#options = options;
  }

  /** Something worked. */
  succeeded(): void {
    if (this.#attempt === 0) return;
    this.#attempt = 0;
    this.#failingSince = undefined;
    this.#options.onWaiting(null);
  }

  /** Resolves when it is time to try again; throws `error` when trying again cannot help. */
  async outlast(error: HawserError): Promise<void> {
    const { clock, signal, giveUpMs, onWaiting, backoff = defaultBackoff } = this.#options;
    signal.throwIfAborted();
    const now = clock.now();
    this.#failingSince ??= now;
    if (!error.retryable || now - this.#failingSince > giveUpMs) throw error;
    // Lanes that fail while others wait saw the same failure: one server that is away counts once.
    if (now >= this.#waitingUntil) this.#attempt++;
    const asked = error.details.retryAfterSeconds;
    const milliseconds =
      typeof asked === 'number' && asked > 0
        ? Math.min(asked * 1000, 300_000)
        : backoffMs(this.#attempt, clock.random, backoff);
    this.#waitingUntil = Math.max(this.#waitingUntil, now + milliseconds);
    onWaiting({ code: error.code, reason: error.message, until: now + milliseconds });
    await clock.delay(milliseconds, signal);
  }

  /**
   * `call`, again and again until it works or its error will not pass. That it worked does not shorten
   * the next wait: a server that answers questions may still refuse bytes.
   */
  async persist<T>(call: () => Promise<T>, mayPass: (error: HawserError) => boolean = () => true): Promise<T> {
    for (let waited = false; ; waited = true) {
      try {
        const result = await call();
        if (waited) this.#options.onWaiting(null);
        return result;
      } catch (error) {
        this.#options.signal.throwIfAborted();
        const known = toHawserError(error);
        if (!mayPass(known)) throw known;
        await this.outlast(known);
      }
    }
  }
}
