import { Worker } from 'node:worker_threads';
import { HawserError } from '../core/errors.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Device } from '../stores/device.ts';
import { SLAB_BYTES, type Slab, type SlabPool } from './slab-pool.ts';

/** What Python's hashlib calls them; each works with every Device. */
export const blkhashAlgorithms = [
  'blake2b',
  'blake2s',
  'md5',
  'md5-sha1',
  'ripemd160',
  'sha1',
  'sha224',
  'sha256',
  'sha384',
  'sha3_224',
  'sha3_256',
  'sha3_384',
  'sha3_512',
  'sha512',
  'sha512_224',
  'sha512_256',
  'shake_128',
  'shake_256',
  'sm3',
] as const;
export type BlkhashAlgorithm = (typeof blkhashAlgorithms)[number];

/** Blocks that are read and hashed at the same time, on as many threads as there are. */
const BLOCKS_AHEAD = 4;

/** Of runs of zero blocks, what a thread is asked for at once. */
const ZERO_BLOCKS_AT_ONCE = 65_536;

export interface BlkhashRequest {
  readonly device: Pick<Device, 'read' | 'extents'>;
  /** Hashed up to here. */
  readonly size: number;
  /** Hashed from here, where the first block begins; 0 unless said. */
  readonly from?: number;
  readonly algorithm: BlkhashAlgorithm;
  readonly blockSize: number;
  readonly slabs: SlabPool;
  /** Bytes of blocks that are hashed, in order. */
  readonly onBytes: (bytes: number) => void;
}

interface Answer {
  readonly id: number;
  readonly digest?: Uint8Array;
  readonly error?: string;
}

interface Thread {
  readonly worker: Worker;
  readonly known: Set<number>;
}

/**
 * blkhash, as oVirt's and Red Hat's tools compute it: H(H(block 1) ‖ H(block 2) ‖ …), the last block short, BLAKE2b with 32
 * bytes by default. On worker threads, which start with the first use. What the Device knows to be zeros is not read, and
 * what turns out to be zeros is not hashed.
 */
export class Blkhash implements AsyncDisposable {
  readonly #size: number;
  readonly #threads: Thread[] = [];
  readonly #pending = new Map<
    number,
    { resolve: (digest: Uint8Array | undefined) => void; reject: (e: Error) => void }
  >();
  #nextId = 1;

  constructor(threads: number) {
    this.#size = Math.max(1, threads);
  }

  /** hex. Rejects with the signal's reason; then the Device is not read any more. */
  async digest(request: BlkhashRequest, signal: AbortSignal): Promise<string> {
    const outer = this.#nextId++;
    const first = this.#thread(0);
    const { algorithm } = request;
    const ahead: { readonly bytes: number; readonly digest: Promise<Uint8Array> }[] = [];
    const takeOne = async () => {
      const block = ahead.shift();
      if (block === undefined) return;
      await this.#ask(first, { kind: 'outer', outer, algorithm, digest: await block.digest, count: 1 });
      request.onBytes(block.bytes);
    };
    try {
      let turn = 0;
      for await (const run of blockRuns(request, signal)) {
        if (run.kind === 'zeros') {
          while (ahead.length > 0) await takeOne();
          await this.#zeroRun(request, run, outer, signal);
        } else {
          const digest = this.#block(request, run.pieces, this.#thread(turn++), signal);
          digest.catch(() => {}); // it is thrown where it is awaited
          ahead.push({ bytes: run.bytes, digest });
          if (ahead.length >= BLOCKS_AHEAD) await takeOne();
        }
      }
      while (ahead.length > 0) await takeOne();
      return Buffer.from(await this.#digestOf(first, { kind: 'digest', outer, algorithm })).toString('hex');
    } catch (error) {
      await Promise.allSettled(ahead.map(({ digest }) => digest));
      this.#post(first, { kind: 'drop', outer });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  async #zeroRun(request: BlkhashRequest, run: ZeroRun, outer: number, signal: AbortSignal): Promise<void> {
    const { algorithm } = request;
    const thread = this.#thread(0);
    const block = this.#nextId++;
    this.#post(thread, { kind: 'zeros', block, length: run.length });
    const digest = await this.#digestOf(thread, { kind: 'block', block, algorithm });
    for (let left = run.count; left > 0; left -= ZERO_BLOCKS_AT_ONCE) {
      signal.throwIfAborted();
      const count = Math.min(left, ZERO_BLOCKS_AT_ONCE);
      await this.#ask(thread, { kind: 'outer', outer, algorithm, digest, count });
      request.onBytes(count * run.length);
    }
  }

  /** One piece is hashed while the next one is read. */
  async #block(
    { device, slabs, algorithm }: BlkhashRequest,
    pieces: readonly Piece[],
    thread: Thread,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const block = this.#nextId++;
    let hashed: Promise<unknown> = Promise.resolve();
    try {
      for (const piece of pieces) {
        signal.throwIfAborted();
        if (piece.zero) {
          this.#post(thread, { kind: 'zeros', block, length: piece.length });
          continue;
        }
        const slab = await slabs.acquire(signal);
        try {
          await device.read(slab.bytes.subarray(0, piece.length), piece.offset, signal);
          await hashed;
        } catch (error) {
          slabs.release(slab);
          throw error;
        }
        hashed = this.#piece(thread, slab, { block, length: piece.length, algorithm }).finally(() =>
          slabs.release(slab),
        );
        hashed.catch(() => {}); // it is thrown where it is awaited
      }
      await hashed;
      return await this.#digestOf(thread, { kind: 'block', block, algorithm });
    } catch (error) {
      this.#post(thread, { kind: 'drop', block });
      throw error;
    }
  }

  #piece(thread: Thread, slab: Slab, piece: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (!thread.known.has(slab.index)) {
      thread.known.add(slab.index);
      this.#post(thread, { kind: 'slab', slab: slab.index, shared: slab.shared });
    }
    return this.#ask(thread, { kind: 'piece', slab: slab.index, ...piece });
  }

  async #digestOf(thread: Thread, request: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
    const digest = await this.#ask(thread, request);
    if (digest === undefined) throw new HawserError('internal', 'The hash thread answered without a digest.');
    return digest;
  }

  #ask(thread: Thread, request: Readonly<Record<string, unknown>>): Promise<Uint8Array | undefined> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#post(thread, { ...request, id });
    });
  }

  #post(thread: Thread, request: Readonly<Record<string, unknown>>): void {
    thread.worker.postMessage(request);
  }

  #thread(turn: number): Thread {
    const there = this.#threads[turn % this.#size];
    if (there !== undefined) return there;
    const worker = new Worker(new URL('./blkhash-worker.js', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    worker.unref();
    const thread: Thread = { worker, known: new Set() };
    worker.on('message', ({ id, digest, error }: Answer) => {
      const waiting = this.#pending.get(id);
      this.#pending.delete(id);
      if (error === undefined) waiting?.resolve(digest);
      else waiting?.reject(new HawserError('internal', `Hashing failed: ${error}`));
    });
    worker.on('error', () => this.#lose(thread));
    worker.on('exit', () => this.#lose(thread));
    this.#threads.push(thread);
    return thread;
  }

  /** All that is under way fails: which thread had what is not worth knowing. */
  #lose(thread: Thread): void {
    const place = this.#threads.indexOf(thread);
    if (place < 0) return;
    this.#threads.splice(place, 1);
    for (const { reject } of this.#pending.values()) {
      reject(new HawserError('internal', 'A hash thread ended; ask again.'));
    }
    this.#pending.clear();
  }
}

/** Part of one block, no longer than a slab. */
interface Piece extends Range {
  readonly zero: boolean;
}

interface ZeroRun {
  readonly kind: 'zeros';
  /** Bytes of each block. */
  readonly length: number;
  readonly count: number;
}

type BlockRun = ZeroRun | { readonly kind: 'data'; readonly bytes: number; readonly pieces: readonly Piece[] };

/** The blocks in order; those that are all zeros by extents together. */
async function* blockRuns(request: BlkhashRequest, signal: AbortSignal): AsyncGenerator<BlockRun> {
  const { device, size, from = 0, blockSize } = request;
  let pieces: Piece[] = [];
  let filled = 0;
  let at = from;
  for await (const extent of device.extents({ offset: from, length: size - from }, signal)) {
    const end = Math.min(rangeEnd(extent), size);
    while (at < end) {
      if (extent.zero && filled === 0 && end - at >= blockSize) {
        const count = Math.floor((end - at) / blockSize);
        yield { kind: 'zeros', length: blockSize, count };
        at += count * blockSize;
        continue;
      }
      const most = Math.min(blockSize - filled, end - at);
      const length = extent.zero ? most : Math.min(most, SLAB_BYTES - (at % SLAB_BYTES));
      pieces.push({ offset: at, length, zero: extent.zero });
      at += length;
      filled += length;
      if (filled < blockSize) continue;
      yield { kind: 'data', bytes: filled, pieces };
      pieces = [];
      filled = 0;
    }
  }
  if (filled > 0) yield { kind: 'data', bytes: filled, pieces };
}
