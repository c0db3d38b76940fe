import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';

export type Packing = 'gzip' | 'xz' | 'zstd';

/** Unpacked bytes that may be on their way: places of shared memory, filled by the thread. */
const PLACES = 4;
const PLACE_BYTES = 256 * 1024;
/** Compressed bytes that may be on their way. */
const MOST_INSIDE = 512 * 1024;
/** zstd windows up to 2^27 bytes, as its tools take without being asked; xz up to 64 MiB. */
const WINDOW_LOG = 27;

/** How many first bytes tell. */
const MAGIC_BYTES = 6;

/** How it is packed, told by its first bytes (RFC 1952 2.3.1, .xz 2.1.1.1, RFC 8878 3.1.1); undefined: it is not. */
export function packingOf(head: Uint8Array): Packing | undefined {
  const starts = (magic: readonly number[]) => magic.every((byte, i) => head[i] === byte);
  if (starts([0x1f, 0x8b, 0x08])) return 'gzip';
  if (starts([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])) return 'xz';
  if (starts([0x28, 0xb5, 0x2f, 0xfd])) return 'zstd';
  return undefined;
}

/**
 * The content of a source, unpacked by a thread of its own while it comes when its first bytes say that it
 * is packed; never more than a MiB or so is under way. Otherwise the bytes as they are, after `plain` has
 * resolved. Rejects with `corrupt` when it is damaged or ends too early, `unsupported` when it needs more
 * memory than is given.
 */
export function unpackedIfPacked(source: ByteSource, plain: () => Promise<void>): ByteSource {
  return {
    async drain(take, signal) {
      await using stack = new AsyncDisposableStack();
      const failed = new AbortController();
      const stop = AbortSignal.any([signal, failed.signal]);
      let head: Buffer = Buffer.alloc(0);
      let give: Take | undefined;
      let end = () => Promise.resolve();
      const begin = async () => {
        const kind = packingOf(head);
        if (kind === undefined) {
          await plain();
          give = take;
        } else {
          const unpacking = stack.use(new Unpacking(kind, { take, failed: (error) => failed.abort(error) }));
          give = (chunk) => unpacking.give(chunk);
          end = () => unpacking.end(stop);
        }
        if (head.length > 0) await give(head);
      };
      await source.drain((chunk) => {
        if (give !== undefined) return give(chunk);
        head = Buffer.concat([head, chunk]);
        return head.length < MAGIC_BYTES ? undefined : begin();
      }, stop);
      if (give === undefined) await begin();
      await end();
    },
  };
}

type Take = (chunk: Uint8Array) => Promise<void> | undefined;

const answer = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('eaten'), bytes: z.number() }),
  z.object({ kind: z.literal('unpacked'), place: z.number(), length: z.number() }),
  z.object({ kind: z.literal('done') }),
  z.object({
    kind: z.literal('failed'),
    reason: z.enum(['truncated', 'damaged', 'memory', 'options']),
    message: z.string(),
  }),
]);

class Unpacking implements AsyncDisposable {
  readonly #kind: Packing;
  readonly #take: Take;
  readonly #failed: (error: unknown) => void;
  readonly #worker: Worker;
  readonly #places = Array.from({ length: PLACES }, () => new SharedArrayBuffer(PLACE_BYTES));
  readonly #done = Promise.withResolvers<void>();
  /** Unpacked chunks are taken one after the other. */
  #taking: Promise<void> = Promise.resolve();
  #inside = 0;
  #over = false;
  #room: PromiseWithResolvers<void> | undefined;

  /** `failed` is told what went wrong, at unpacking or at taking. */
  constructor(kind: Packing, { take, failed }: { readonly take: Take; readonly failed: (error: unknown) => void }) {
    this.#kind = kind;
    this.#take = take;
    this.#failed = failed;
    this.#worker = new Worker(new URL('./unpack-worker.js', import.meta.url), {
      workerData: { kind, places: this.#places, windowLog: WINDOW_LOG },
    });
    this.#worker.on('message', (message: unknown) => this.#hear(message));
    this.#worker.on('error', (cause) =>
      this.#fail(new HawserError('internal', 'The unpacking thread ended.', { cause })),
    );
    this.#done.promise.catch(() => {}); // it is thrown where it is awaited
  }

  give(chunk: Uint8Array): Promise<void> | undefined {
    const bytes = Uint8Array.from(chunk);
    this.#inside += bytes.length;
    this.#worker.postMessage({ kind: 'packed', bytes }, [bytes.buffer]);
    if (this.#inside <= MOST_INSIDE) return undefined;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  /** All was given: resolves when all was taken. */
  async end(signal: AbortSignal): Promise<void> {
    const stop = () => this.#done.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    this.#worker.postMessage({ kind: 'end' });
    try {
      await this.#done.promise;
      await this.#taking;
      signal.throwIfAborted();
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.#room?.resolve();
    await this.#worker.terminate();
    await this.#taking;
  }

  #hear(message: unknown): void {
    const heard = answer.parse(message);
    if (heard.kind === 'unpacked') this.#taking = this.#taking.then(() => this.#pass(heard));
    else if (heard.kind === 'done') this.#done.resolve();
    else if (heard.kind === 'failed') this.#fail(this.#failureOf(heard.reason));
    else {
      this.#inside -= heard.bytes;
      if (this.#inside > MOST_INSIDE) return;
      this.#room?.resolve();
      this.#room = undefined;
    }
  }

  async #pass({ place, length }: { readonly place: number; readonly length: number }): Promise<void> {
    const shared = this.#places[place];
    if (shared === undefined || this.#over) return;
    try {
      await this.#take(new Uint8Array(shared, 0, length));
      this.#worker.postMessage({ kind: 'free', place });
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#over = true;
    this.#failed(error);
    this.#done.reject(error);
    this.#room?.resolve();
  }

  #failureOf(reason: 'truncated' | 'damaged' | 'memory' | 'options'): HawserError {
    const name = this.#kind;
    switch (reason) {
      case 'truncated':
        return new HawserError(
          'corrupt',
          `The ${name} data ends too early: the file is cut off where it lies. Replace it there, or fetch it from elsewhere.`,
        );
      case 'damaged':
        return new HawserError(
          'corrupt',
          `The ${name} data is damaged and cannot be unpacked. Replace it where it lies.`,
        );
      case 'memory':
        return new HawserError(
          'unsupported',
          `Unpacking this ${name} data needs more memory than is given to it (a window of 128 MiB for zstd, 64 MiB for xz). Pack it again without --long or with a smaller dictionary.`,
        );
      case 'options':
        return new HawserError(
          'unsupported',
          `This ${name} file uses a filter or a check (SHA-256, say) that is not known here. Pack it again with the usual options.`,
        );
    }
  }
}
