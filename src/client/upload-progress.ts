import type { ErrorCode } from '../core/errors.ts';

export type UploadPhase = 'preparing' | 'verifying' | 'sending' | 'finishing' | 'done';

/** Where an upload stands; a new one at each change. Bytes. */
export interface UploadProgress {
  readonly phase: UploadPhase;
  readonly uploadId: string | null;
  readonly imageId: string | null;
  readonly taskId: string | null;
  /** Acknowledged by the server, zeros included; while `verifying`: compared so far. */
  readonly done: number;
  /** While `verifying`: how much there is to compare. null: not known. */
  readonly total: number | null;
  /** Sent on connections that are open now and not acknowledged yet. */
  readonly underway: number;
  /** Bytes of data that this run has put on the wire and that were acknowledged. */
  readonly sent: number;
  /** Bytes that were never sent because they are zeros. */
  readonly zeros: number;
  /** Why nothing moves, if so. */
  readonly waiting: Waiting | null;
}

export interface Waiting {
  readonly code: ErrorCode;
  /** For a person. */
  readonly reason: string;
  /** The next try, on the clock of the ports (milliseconds). */
  readonly until: number;
}

/** Collects the numbers and tells the listener. */
export class UploadStatus {
  readonly #listener: (progress: UploadProgress) => void;
  readonly #underway = new Map<object, number>();
  #now: UploadProgress = {
    phase: 'preparing',
    uploadId: null,
    imageId: null,
    taskId: null,
    done: 0,
    total: null,
    underway: 0,
    sent: 0,
    zeros: 0,
    waiting: null,
  };

  constructor(listener: (progress: UploadProgress) => void = () => undefined) {
    this.#listener = listener;
  }

  get now(): UploadProgress {
    return this.#now;
  }

  change(change: Partial<UploadProgress>): void {
    this.#now = { ...this.#now, ...change };
    this.#listener(this.#now);
  }

  /** What of one request is on its way; 0 takes it off the list. */
  underway(request: object, bytes: number): void {
    if (bytes === 0) this.#underway.delete(request);
    else this.#underway.set(request, bytes);
    let sum = 0;
    for (const each of this.#underway.values()) sum += each;
    this.change({ underway: sum });
  }
}
