import type { ByteSource } from '../core/bytes.ts';
import { TREE_BLOCK } from '../core/digest.ts';
import { HawserError } from '../core/errors.ts';
import type { FlatAlgorithm, HashStream } from './hash-pool.ts';
import type { EngineMeans, Incoming } from './incoming.ts';
import { moveBody } from './move-body.ts';
import { type MovedBody, NOTHING_MOVED } from './move-connection.ts';
import type { RateLimit } from './rate-limit.ts';
import type { Held } from './segments.ts';
import type { Slab } from './slab-pool.ts';

/**
 * Slabs that are hashed and written together: one message, one system call and one wake-up of a thread
 * for four of them.
 */
const GROUP = 4;
/** A half-filled slab is landed after so long, so that a stalled or slow client holds no memory and loses little. */
const PATIENCE_MS = 2000;

export interface BodyRequest {
  readonly offset: number;
  /** Bytes that were announced; null: until the source ends. */
  readonly length: number | null;
  /** No byte may lie at or behind it; null: not known. */
  readonly end: number | null;
  /** Digest of the body (Content-Digest), or its first bytes: nothing counts unless it is right. */
  readonly digest?: { readonly algorithm: FlatAlgorithm; readonly bytes: Buffer } | undefined;
  readonly limit?: RateLimit | undefined;
  /** Sees every stretch in order before it is landed; resolves when it needs the slab no more. */
  readonly watch?: ((slab: Slab, from: number, to: number, offset: number) => Promise<void> | undefined) | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Takes one body into an Upload: cuts it at blocks into pooled slabs, hashes and writes a group of
 * them while the next one fills, holds the source back when both are busy. Resolves with the number of bytes once
 * all are acknowledged. When the source breaks off, what arrived is acknowledged first, then the error
 * is thrown; with a digest nothing of it counts.
 */
export async function receiveBody(
  parts: { readonly incoming: Incoming; readonly means: EngineMeans },
  request: BodyRequest,
  source: ByteSource,
  signal: AbortSignal,
): Promise<number> {
  const moved = await moveIfPossible(parts, request, source, signal);
  const body = new Body(parts, rest(request, moved.bytes), signal);
  try {
    if (moved.rest.length > 0) await body.take(moved.rest);
    await source.drain((chunk) => body.take(chunk), signal);
    return moved.bytes + (await body.end());
  } catch (error) {
    await body.breakOff();
    throw error;
  } finally {
    body.dispose();
  }
}

/** Whatever looks at the bytes or holds them up needs the ordinary path. */
async function moveIfPossible(
  parts: { readonly incoming: Incoming; readonly means: EngineMeans },
  { offset, length, end, digest, limit, watch, onBytes }: BodyRequest,
  source: ByteSource,
  signal: AbortSignal,
): Promise<MovedBody> {
  const plain = digest === undefined && limit === undefined && watch === undefined;
  if (!plain || length === null || (end !== null && offset + length > end)) return NOTHING_MOVED;
  return moveBody(parts, { range: { offset, length }, onBytes }, source, signal);
}

function rest(request: BodyRequest, bytes: number): BodyRequest {
  const { offset, length } = request;
  return { ...request, offset: offset + bytes, length: length === null ? null : length - bytes };
}

interface Segment {
  readonly slab: Slab;
  readonly offset: number;
  readonly length: number;
}

class Body {
  readonly #incoming: Incoming;
  readonly #means: EngineMeans;
  readonly #request: BodyRequest;
  readonly #signal: AbortSignal;
  readonly #digest: HashStream | undefined;
  readonly #held: Held[] = [];
  readonly #flying = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #slab: Slab | undefined;
  /** Filled and not on their way yet. */
  #full: Segment[] = [];
  /** Content offset of the first byte in the slab, and of the next byte to come. */
  #start: number;
  #next: number;
  #filledAt = 0;
  #error: unknown;

  constructor(
    parts: { readonly incoming: Incoming; readonly means: EngineMeans },
    request: BodyRequest,
    signal: AbortSignal,
  ) {
    this.#incoming = parts.incoming;
    this.#means = parts.means;
    this.#request = request;
    this.#signal = signal;
    this.#start = request.offset;
    this.#next = request.offset;
    this.#digest = request.digest && parts.means.hashes.stream(request.digest.algorithm);
    this.#timer = setInterval(() => this.#loseNoTime(), PATIENCE_MS / 2).unref();
  }

  take(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#error !== undefined) throw this.#error;
    const end = this.#next + chunk.length;
    if (this.#request.end !== null && end > this.#request.end) throw tooLong(this.#request.end);
    if (this.#request.length !== null && end > this.#request.offset + this.#request.length) {
      throw tooLong(this.#request.offset + this.#request.length);
    }
    this.#request.onBytes?.(chunk.length);
    const wait = this.#request.limit?.spend(chunk.length) ?? 0;
    const rest = this.#fill(chunk);
    if (rest === undefined && wait === 0 && this.#flying.size <= GROUP) return undefined;
    return this.#catchUp(rest, wait);
  }

  /** The source has ended: lands the rest, checks length and digest. */
  async end(): Promise<number> {
    this.#launch();
    await this.#landed();
    const bytes = this.#next - this.#request.offset;
    if (this.#request.length !== null && bytes < this.#request.length) {
      throw new HawserError('connection-lost', `The body ended after ${bytes} of ${this.#request.length} bytes.`);
    }
    await this.#checkDigest();
    await this.#incoming.commit(this.#held.splice(0));
    return bytes;
  }

  /** Keeps what arrived, unless it came under a digest. */
  async breakOff(): Promise<void> {
    if (this.#request.digest === undefined && this.#error === undefined) this.#launch();
    await Promise.allSettled([...this.#flying]);
    this.#incoming.drop(this.#held.splice(0));
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.#digest?.drop();
    if (this.#slab !== undefined) this.#means.slabs.release(this.#slab);
    for (const { slab } of this.#full.splice(0)) this.#means.slabs.release(slab);
    this.#slab = undefined;
  }

  /** Copies into slabs as far as there are free ones; what is left over comes back. */
  #fill(chunk: Uint8Array): Uint8Array | undefined {
    let rest = chunk;
    while (rest.length > 0) {
      this.#slab ??= this.#means.slabs.tryAcquire();
      if (this.#slab === undefined) return rest;
      const room = TREE_BLOCK - (this.#next % TREE_BLOCK);
      const piece = rest.length <= room ? rest : rest.subarray(0, room);
      if (this.#next === this.#start && this.#full.length === 0) this.#filledAt = performance.now();
      this.#slab.bytes.set(piece, this.#next - this.#start);
      this.#next += piece.length;
      rest = rest.subarray(piece.length);
      if (piece.length === room) this.#setAside();
      if (this.#full.length >= GROUP) this.#launch();
    }
    return undefined;
  }

  async #catchUp(rest: Uint8Array | undefined, waitMs: number): Promise<void> {
    let left = rest;
    while (left !== undefined) {
      // No slab is free: those that are full must come back before anybody waits for one.
      this.#launch();
      this.#slab ??= await this.#means.slabs.acquire(this.#signal);
      left = this.#fill(left);
    }
    while (this.#flying.size > GROUP) await Promise.race(this.#flying);
    if (waitMs > 0) await delay(waitMs, this.#signal);
    if (this.#error !== undefined) throw this.#error;
  }

  /** What the slab holds is ready to go. */
  #setAside(): void {
    const slab = this.#slab;
    const length = this.#next - this.#start;
    if (slab === undefined || length === 0) return;
    this.#full.push({ slab, offset: this.#start, length });
    this.#slab = undefined;
    this.#start = this.#next;
  }

  /** Sends everything that is here on its way. */
  #launch(): void {
    this.#setAside();
    for (const { slab, offset, length } of this.#full.splice(0)) {
      const flight = this.#land(slab, offset, length)
        .catch((error: unknown) => {
          this.#error ??= error;
        })
        .finally(() => {
          this.#means.slabs.release(slab);
          this.#flying.delete(flight);
        });
      this.#flying.add(flight);
    }
  }

  async #land(slab: Slab, offset: number, length: number): Promise<void> {
    const watched = this.#request.watch?.(slab, 0, length, offset);
    const hashed = this.#digest?.update(slab, 0, length);
    const range = { offset, length };
    const landed =
      this.#digest === undefined
        ? this.#incoming.land(slab, 0, range)
        : this.#incoming.hold(slab, 0, range).then((held) => void this.#held.push(...held));
    const results = await Promise.allSettled([landed, watched, hashed]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #landed(): Promise<void> {
    await Promise.all([...this.#flying]);
    if (this.#error !== undefined) throw this.#error;
  }

  async #checkDigest(): Promise<void> {
    const wanted = this.#request.digest;
    if (wanted === undefined || this.#digest === undefined) return;
    const found = await this.#digest.digest();
    if (found.subarray(0, wanted.bytes.length).equals(wanted.bytes)) return;
    throw new HawserError(
      'digest-mismatch',
      `The body's ${wanted.algorithm} is ${found.toString('hex')}, its Content-Digest says ${wanted.bytes.toString('hex')}: it was damaged on the way. Nothing of it was kept; send the range again.`,
    );
  }

  #loseNoTime(): void {
    const old = performance.now() - this.#filledAt > PATIENCE_MS;
    if (old || this.#means.slabs.contended) this.#launch();
  }
}

function tooLong(end: number): HawserError {
  return new HawserError(
    'out-of-range',
    `The body is longer than was declared: bytes at or after ${end} were not accepted.`,
  );
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      signal.removeEventListener('abort', stop);
      resolve();
    };
    const timer = setTimeout(done, ms);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
