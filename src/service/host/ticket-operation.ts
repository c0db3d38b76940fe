import type { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';

/** One read, write or zero inside a ticket, while it runs. What was moved is always its beginning. */
export class Operation {
  readonly #range: Range;
  readonly #stop = new AbortController();
  readonly #moved: () => void;
  #done = 0;

  /** `moved` is called after each step. */
  constructor(range: Range, moved: () => void) {
    this.#range = range;
    this.#moved = moved;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** What of its range has been moved so far. */
  get done(): Range {
    return { offset: this.#range.offset, length: this.#done };
  }

  moved(bytes: number): void {
    this.#done += bytes;
    this.#moved();
  }

  abort(reason: HawserError): void {
    this.#stop.abort(reason);
  }
}
