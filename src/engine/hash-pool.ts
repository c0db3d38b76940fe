import { Worker } from 'node:worker_threads';
import { HawserError } from '../core/errors.ts';
import type { Slab } from './slab-pool.ts';
import { isZero } from './zeros.ts';

/** What the pool asks of a worker. Slabs are sent once and named by index afterwards. */
type HashRequest =
  | { readonly kind: 'slab'; readonly slab: number; readonly shared: SharedArrayBuffer }
  | { readonly kind: 'leaf'; readonly id: number; readonly slab: number; readonly from: number; readonly to: number }
  | { readonly kind: 'open'; readonly stream: number; readonly algorithm: string }
  | {
      readonly kind: 'update';
      readonly id: number;
      readonly stream: number;
      readonly slab: number;
      readonly from: number;
      readonly to: number;
    }
  | { readonly kind: 'zeros'; readonly id: number; readonly stream: number; readonly length: number }
  | { readonly kind: 'digest'; readonly id: number; readonly stream: number }
  | { readonly kind: 'drop'; readonly stream: number };

interface HashAnswer {
  readonly id: number;
  readonly digest?: Uint8Array;
  readonly error?: string;
}

export type FlatAlgorithm = 'sha256' | 'sha512' | 'md5';

/** A digest over bytes in order. Every promise resolves when the slab may be reused. */
export interface HashStream {
  update(slab: Slab, from: number, to: number): Promise<void>;
  /** `length` bytes of zeros, without a buffer. */
  zeros(length: number): Promise<void>;
  digest(): Promise<Buffer>;
  /** Gives it up. */
  drop(): void;
}

/** Zeros at the beginning of a stream wait so long for something else. */
const MOST_WAITING = 64 * 1024 * 1024;
/** Digests that are remembered: sources are cut into pieces of one or two lengths. */
const MOST_REMEMBERED = 100;

/** Digests of nothing but zeros, by algorithm and length. */
type ZeroDigests = Map<string, Buffer>;

/** Requests of one message to a thread that others may still join. */
const MOST_TOGETHER = 8;

interface Thread {
  readonly worker: Worker;
  readonly known: Set<number>;
  load: number;
  /** What goes in the next message: one wake-up for all of it. */
  outbox: HashRequest[];
}

/** Hashing on worker threads, over slabs, without copies; never on the event loop. Threads start with the first use. */
export class HashPool implements AsyncDisposable {
  readonly #size: number;
  readonly #threads: Thread[] = [];
  readonly #pending = new Map<
    number,
    { thread: Thread; resolve: (answer: HashAnswer) => void; reject: (e: Error) => void }
  >();
  readonly #ofZeros: ZeroDigests = new Map();
  #nextId = 1;
  #nextStream = 1;
  #closed = false;

  constructor(size: number) {
    this.#size = Math.max(1, size);
  }

  /** SHA-256 of `[from, to)` of the slab. */
  async leaf(slab: Slab, from: number, to: number): Promise<Buffer> {
    const thread = this.#leastLoaded();
    const answer = await this.#ask(thread, slab, { kind: 'leaf', id: this.#nextId++, slab: slab.index, from, to });
    return digestOf(answer);
  }

  /** Opens a flat digest; all of it runs on one thread, different streams on different ones. */
  stream(algorithm: FlatAlgorithm): HashStream {
    const thread = this.#leastLoaded();
    const stream = this.#nextStream++;
    this.#post(thread, { kind: 'open', stream, algorithm });
    const plain: HashStream = {
      update: async (slab, from, to) => {
        await this.#ask(thread, slab, { kind: 'update', id: this.#nextId++, stream, slab: slab.index, from, to });
      },
      zeros: async (length) => {
        await this.#ask(thread, undefined, { kind: 'zeros', id: this.#nextId++, stream, length });
      },
      digest: async () => digestOf(await this.#ask(thread, undefined, { kind: 'digest', id: this.#nextId++, stream })),
      drop: () => this.#post(thread, { kind: 'drop', stream }),
    };
    return zerosFirst(algorithm, plain, this.#ofZeros);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#threads.map((thread) => thread.worker.terminate()));
  }

  #ask(thread: Thread, slab: Slab | undefined, request: HashRequest & { readonly id: number }): Promise<HashAnswer> {
    if (slab !== undefined && !thread.known.has(slab.index)) {
      thread.known.add(slab.index);
      this.#post(thread, { kind: 'slab', slab: slab.index, shared: slab.shared });
    }
    return new Promise((resolve, reject) => {
      thread.load++;
      this.#pending.set(request.id, { thread, resolve, reject });
      this.#post(thread, request);
    });
  }

  /** In order; everything that is asked of a thread in one go travels in one message. */
  #post(thread: Thread, request: HashRequest): void {
    thread.outbox.push(request);
    if (thread.outbox.length > 1) return;
    queueMicrotask(() => {
      thread.worker.postMessage(thread.outbox);
      thread.outbox = [];
    });
  }

  #leastLoaded(): Thread {
    if (this.#closed) throw new HawserError('unavailable', 'Hawser is stopping; nothing is hashed any more.');
    // Whoever is being written to takes more: one message for all.
    const open = this.#threads.find(({ outbox }) => outbox.length > 0 && outbox.length < MOST_TOGETHER);
    if (open !== undefined) return open;
    if (this.#threads.length < this.#size && this.#threads.every((thread) => thread.load > 0)) return this.#start();
    return this.#threads.reduce((best, thread) => (thread.load < best.load ? thread : best));
  }

  #start(): Thread {
    const worker = new Worker(new URL('./hash-worker.js', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    worker.unref();
    const thread: Thread = { worker, known: new Set(), load: 0, outbox: [] };
    worker.on('message', (answers: readonly HashAnswer[]) => {
      for (const answer of answers) this.#settle(thread, answer);
    });
    worker.on('error', (error) => this.#lose(thread, error));
    worker.on('exit', () => this.#lose(thread, new Error('the hash thread ended')));
    this.#threads.push(thread);
    return thread;
  }

  #settle(thread: Thread, answer: HashAnswer): void {
    const waiting = this.#pending.get(answer.id);
    if (waiting === undefined) return;
    this.#pending.delete(answer.id);
    thread.load--;
    if (answer.error === undefined) waiting.resolve(answer);
    else waiting.reject(new HawserError('internal', `Hashing failed: ${answer.error}`));
  }

  #lose(thread: Thread, cause: unknown): void {
    const place = this.#threads.indexOf(thread);
    if (place >= 0) this.#threads.splice(place, 1);
    for (const [id, waiting] of this.#pending) {
      if (waiting.thread !== thread) continue;
      this.#pending.delete(id);
      waiting.reject(new HawserError('internal', 'A hash thread ended; send the range again.', { cause }));
    }
  }
}

function digestOf(answer: HashAnswer): Buffer {
  if (answer.digest === undefined) throw new HawserError('internal', 'The hash thread answered without a digest.');
  return Buffer.from(answer.digest);
}

/**
 * A stream whose first zeros are not hashed until something else comes: a piece of a sparse image is mostly nothing
 * but zeros, and then its length says all. `known` is shared by the streams of a pool.
 */
function zerosFirst(algorithm: FlatAlgorithm, stream: HashStream, known: ZeroDigests): HashStream {
  /** undefined: not only zeros have come. */
  let waiting: number | undefined = 0;
  const handOver = () => {
    const length = waiting;
    waiting = undefined;
    return length === undefined || length === 0 ? undefined : stream.zeros(length);
  };
  return {
    update: async (slab, from, to) => {
      const mayWait = waiting !== undefined && waiting + to - from <= MOST_WAITING;
      if (mayWait && waiting !== undefined && isZero(slab.bytes.subarray(from, to))) waiting += to - from;
      else await Promise.all([handOver(), stream.update(slab, from, to)]);
    },
    zeros: async (length) => {
      await Promise.all([handOver(), stream.zeros(length)]);
    },
    digest: async () => {
      if (waiting === undefined) return stream.digest();
      const name = `${algorithm}:${waiting}`;
      const before = known.get(name);
      if (before !== undefined) {
        waiting = undefined;
        stream.drop();
        return before;
      }
      const [, digest] = await Promise.all([handOver(), stream.digest()]);
      if (known.size >= MOST_REMEMBERED) known.clear();
      known.set(name, digest);
      return digest;
    },
    drop: () => stream.drop(),
  };
}
