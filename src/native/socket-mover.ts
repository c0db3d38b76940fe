import { closeSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { Move, MovedSegment, MoveEnd, MoveEvents, MoveRequest, Mover, MoverSlab } from '../core/mover.ts';
import { eventDescriptor } from './event-descriptor.ts';
import { libc } from './libc.ts';

/** Of the mover thread. */
interface MoverMessage {
  readonly id: number;
  readonly segments: readonly MovedSegment[];
  readonly ended?: MoveEnd;
}

/** A slab as the threads share it; `control` is laid out in mover-slab.js. */
interface SharedSlab extends MoverSlab {
  readonly control: SharedArrayBuffer;
}

/** One that moves, and one that hashes what it has no time for. Each costs 10 to 15 MiB, a second hasher would too. */
interface Threads {
  readonly mover: Worker;
  readonly hashers: readonly Worker[];
  /** Memory by which a slab is controlled, by its index. */
  readonly known: Map<number, Int32Array>;
  readonly wakeFd: number;
  /** mover-worker.js */
  readonly since: Int32Array;
}

/** Words of the memory that a move shares with the thread. */
const STOP = 0;
const DEALT_WITH = 1;
/** mover-slab.js */
const CONTROL_BYTES = 40;
const OWN = 0;
const MOST_HASHERS = 1;

const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

/** Undefined where this machine has no such calls. */
export function openSocketMover(settings?: SocketMoverSettings): SocketMover | undefined {
  return libc() === undefined ? undefined : new SocketMover(settings);
}

export interface SocketMoverSettings {
  /** Threads that help with digests where there are cores for them; default 1. Without digests they have nothing to do. */
  readonly hashers?: number;
}

/**
 * A Mover with one thread for all connections: poll(2), then recv and pwrite of the same buffer, then its
 * SHA-256. The threads start with the first move.
 */
export class SocketMover implements Mover, AsyncDisposable {
  readonly #moves = new Map<number, MoveEvents>();
  readonly #one = Buffer.from(BigUint64Array.of(1n).buffer);
  #threads: Threads | undefined;
  #nextId = 1;
  /** Threads that end again and again are not started for ever. */
  #lives = 3;
  #closed = false;
  readonly #hashers: number;

  constructor({ hashers = MOST_HASHERS }: SocketMoverSettings = {}) {
    this.#hashers = Math.min(hashers, availableParallelism() - 1);
  }

  /** Moves that have not ended. */
  get running(): number {
    return this.#moves.size;
  }

  /** Seconds for which the thread has been in one write. */
  get heldSeconds(): number {
    const since = this.#threads === undefined ? 0 : Atomics.load(this.#threads.since, 0);
    return since === 0 ? 0 : process.hrtime()[0] - since;
  }

  begin(request: MoveRequest, events: MoveEvents): Move | undefined {
    const threads = this.#running();
    if (threads === undefined) return undefined;
    const id = this.#nextId++;
    const control = new Int32Array(new SharedArrayBuffer(8));
    this.#moves.set(id, events);
    threads.mover.postMessage({
      id,
      socket: request.socket,
      tls: request.tls,
      file: request.file,
      range: request.range,
      digests: request.digests,
      skipsZeros: request.skipsZeros,
      patience: request.patience,
      lead: request.lead,
      control: control.buffer,
      slabs: request.slabs.map(({ index }) => index),
      fresh: introduce(threads, request.slabs),
    });
    this.#wake(threads);
    return {
      recall: () => {
        Atomics.store(control, STOP, 1);
        this.#wake(threads);
      },
      dealtWith: (segments) => void Atomics.add(control, DEALT_WITH, segments),
      giveBack: (slab) => {
        const state = threads.known.get(slab);
        if (state !== undefined) Atomics.store(state, 0, OWN);
        this.#wake(threads);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    if (this.#threads !== undefined) await this.#end(this.#threads, new Error('the mover was closed'));
  }

  #running(): Threads | undefined {
    if (this.#closed || this.#lives === 0) return undefined;
    const wakeFd = this.#threads === undefined ? eventDescriptor() : undefined;
    if (wakeFd !== undefined) this.#threads = this.#start(wakeFd);
    return this.#threads;
  }

  #start(wakeFd: number): Threads {
    const moverWaits = new SharedArrayBuffer(4);
    const since = new Int32Array(new SharedArrayBuffer(4));
    const lines = Array.from({ length: this.#hashers }, () => {
      const asleep = new Int32Array(new SharedArrayBuffer(4));
      asleep[0] = 1;
      return { asleep: asleep.buffer, ...new MessageChannel() };
    });
    const mover = start(
      './mover-worker.js',
      { wakeFd, moverWaits, since: since.buffer, hashers: lines.map(({ asleep, port1 }) => ({ asleep, port: port1 })) },
      lines.map(({ port1 }) => port1),
    );
    const hashers = lines.map(({ asleep, port2 }) =>
      start('./mover-hash-worker.js', { wakeFd, moverWaits, asleep, port: port2 }, [port2]),
    );
    const threads: Threads = { mover, hashers, known: new Map(), wakeFd, since };
    mover.on('message', (message: MoverMessage) => this.#hear(message));
    for (const thread of [mover, ...hashers]) {
      thread.once('error', (error) => void this.#end(threads, error));
      thread.once('exit', () => void this.#end(threads, new Error('a thread of the mover ended')));
    }
    return threads;
  }

  #hear({ id, segments, ended }: MoverMessage): void {
    const events = this.#moves.get(id);
    if (events === undefined) return;
    if (segments.length > 0) events.moved(segments);
    if (ended === undefined) return;
    this.#moves.delete(id);
    events.ended(ended);
  }

  /** All of them or none; the next move starts them anew. Nothing is told lost while anything may still read or write. */
  async #end(threads: Threads, cause: Error): Promise<void> {
    if (threads !== this.#threads) return;
    this.#wake(threads);
    this.#threads = undefined;
    this.#lives--;
    const moves = [...this.#moves.values()];
    this.#moves.clear();
    await Promise.all([threads.mover, ...threads.hashers].map((thread) => thread.terminate()));
    closeSync(threads.wakeFd);
    for (const events of moves) events.ended({ kind: 'lost', cause });
  }

  /** The thread may be waiting in poll(2). */
  #wake(threads: Threads): void {
    if (threads === this.#threads) writeSync(threads.wakeFd, this.#one);
  }
}

function start(file: string, workerData: unknown, transferList: readonly MessagePort[]): Worker {
  const url = new URL(file, import.meta.url);
  const thread = new Worker(url, { workerData, transferList: [...transferList], resourceLimits: LIMITS });
  thread.unref();
  return thread;
}

/** Those that the threads do not know yet. */
function introduce({ known, hashers }: Threads, slabs: readonly MoverSlab[]): readonly SharedSlab[] {
  const fresh: SharedSlab[] = [];
  for (const { index, shared } of slabs) {
    if (known.has(index)) continue;
    const control = new SharedArrayBuffer(CONTROL_BYTES);
    known.set(index, new Int32Array(control));
    const slab = { index, shared, control };
    fresh.push(slab);
    for (const hasher of hashers) hasher.postMessage(slab);
  }
  return fresh;
}
