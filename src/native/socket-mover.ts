import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { Move, MovedSegment, MoveEnd, MoveEvents, MoveJob, Mover } from '../core/mover.ts';
import { libc } from './libc.ts';

interface MoverMessage {
  /** Of the first message alone: an eventfd that wakes the thread. */
  readonly wakeFd?: number;
  readonly id?: number;
  readonly segments?: readonly MovedSegment[];
  readonly ended?: MoveEnd;
}

/** Words of the memory that a move shares with the thread. */
const STOP = 0;
const DEALT_WITH = 1;

const ONE = Buffer.from(BigUint64Array.of(1n).buffer);

/** Undefined where this machine has no such calls. */
export function openSocketMover(): SocketMover | undefined {
  return libc() === undefined ? undefined : new SocketMover();
}

/**
 * A Mover with one thread for all: recv, SHA-256 and pwrite of the same buffer, by poll(2) over all
 * connections. It starts with the first move.
 */
export class SocketMover implements Mover, AsyncDisposable {
  readonly #moves = new Map<number, MoveEvents>();
  #known = new Set<number>();
  #thread: Worker | undefined;
  #wakeFd: number | undefined;
  #nextId = 1;
  #closed = false;

  begin(job: MoveJob, events: MoveEvents): Move {
    const thread = this.#running();
    const id = this.#nextId++;
    const control = new Int32Array(new SharedArrayBuffer(8));
    const fresh = job.slabs.filter(({ index }) => !this.#known.has(index));
    for (const { index } of fresh) this.#known.add(index);
    this.#moves.set(id, events);
    thread.postMessage({
      id,
      socket: job.socket,
      file: job.file,
      range: job.range,
      lead: job.lead,
      control: control.buffer,
      slabs: job.slabs.map(({ index }) => index),
      fresh,
    });
    this.#wake();
    return {
      recall: () => {
        Atomics.store(control, STOP, 1);
        this.#wake();
      },
      dealtWith: (segments) => void Atomics.add(control, DEALT_WITH, segments),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#thread?.terminate();
  }

  #running(): Worker {
    if (this.#closed) throw new Error('the mover was closed');
    if (this.#thread !== undefined) return this.#thread;
    const thread = new Worker(new URL('./mover-worker.js', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    thread.unref();
    thread.on('message', (message: MoverMessage) => this.#hear(message));
    thread.on('error', (error) => this.#lose(thread, error));
    thread.on('exit', () => this.#lose(thread, new Error('the mover thread ended')));
    this.#known = new Set();
    this.#thread = thread;
    return thread;
  }

  #hear({ wakeFd, id, segments, ended }: MoverMessage): void {
    if (wakeFd !== undefined) this.#wakeFd = wakeFd;
    const events = id === undefined ? undefined : this.#moves.get(id);
    if (id === undefined || events === undefined) return;
    if (segments !== undefined && segments.length > 0) events.moved(segments);
    if (ended === undefined) return;
    this.#moves.delete(id);
    events.ended(ended);
  }

  #lose(thread: Worker, cause: Error): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    this.#wakeFd = undefined;
    for (const [id, events] of this.#moves) {
      this.#moves.delete(id);
      events.ended({ kind: 'lost', cause });
    }
  }

  /** The thread may be waiting in poll(2). */
  #wake(): void {
    if (this.#wakeFd !== undefined) writeSync(this.#wakeFd, ONE);
  }
}
