import type { Waiting } from './upload-progress.ts';

export type ImageioPhase = 'comparing' | 'sending' | 'fetching' | 'flushing' | 'verifying' | 'done';

/** Where a transfer with a ticket stands; a new one at each change. Bytes. */
export interface ImageioProgress {
  readonly phase: ImageioPhase;
  readonly done: number;
  readonly total: number;
  /** On connections that are open now and not answered yet. */
  readonly underway: number;
  /** Why nothing moves, if so. */
  readonly waiting: Waiting | null;
}

/** Collects the numbers and tells the listener. */
export class ImageioStatus {
  readonly #listener: (progress: ImageioProgress) => void;
  readonly #underway = new Map<object, number>();
  #now: ImageioProgress;

  constructor(total: number, listener: (progress: ImageioProgress) => void = () => undefined) {
    this.#listener = listener;
    this.#now = { phase: 'comparing', done: 0, total, underway: 0, waiting: null };
  }

  get now(): ImageioProgress {
    return this.#now;
  }

  change(change: Partial<ImageioProgress>): void {
    this.#now = { ...this.#now, ...change };
    this.#listener(this.#now);
  }

  /** What of one request is on its way; 0 takes it off the list. */
  underway(request: object, bytes: number): void {
    if (bytes > 0) this.#underway.set(request, bytes);
    else if (!this.#underway.delete(request)) return;
    this.change({ underway: this.#sum() });
  }

  /** What was on its way counts now; told at once, so that nothing seems to go back. */
  landed(request: object, done: number): void {
    this.#underway.delete(request);
    this.change({ done, underway: this.#sum() });
  }

  #sum(): number {
    let sum = 0;
    for (const each of this.#underway.values()) sum += each;
    return sum;
  }
}
