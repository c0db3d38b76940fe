import type { ByteSink, ByteSource } from '../core/bytes.ts';
import { HawserError } from '../core/errors.ts';
import type { Mover } from '../core/mover.ts';
import { cutAt, type Range, rangeEnd } from '../core/range.ts';
import type { Sender } from '../core/sender.ts';
import type { Device } from '../stores/device.ts';
import type { Extent } from '../stores/store.ts';
import { NOTHING_MOVED } from './move-connection.ts';
import { moveToDevice } from './move-to-device.ts';
import type { RateLimit } from './rate-limit.ts';
import { sendRange } from './send.ts';
import { SLAB_BYTES, type Slab, type SlabPool } from './slab-pool.ts';
import { isZero } from './zeros.ts';

/** Writes of one body that are under way while the next slab fills. */
const OUTSTANDING = 3;

/** Of all slabs, what stays for others: a body whose Device hangs keeps one, and more only while there are plenty. */
const FOR_OTHERS = 0.25;

/** A half-filled slab is written after so long when others wait for one: a stalled client holds no memory. */
const PATIENCE_MS = 2000;

/** 128 MiB a zero: large ones side by side held targets so long that initiators gave up, and progress stood still. */
const ZERO_STEP = 128 * 1024 * 1024;

export interface DeviceMeans {
  readonly slabs: SlabPool;
  /** A thread that receives bodies by itself; undefined where there is none. */
  readonly mover?: Mover | undefined;
  /** A thread that sends files by itself; undefined where there is none. */
  readonly sender?: Sender | undefined;
  readonly limit?: RateLimit | undefined;
}

export interface DeviceMove {
  readonly device: Device;
  readonly range: Range;
  readonly means: DeviceMeans;
  /** Bytes that came to be where they belong, in order from the start of the range. */
  readonly onBytes: (bytes: number) => void;
}

export interface Landing extends DeviceMove {
  readonly source: ByteSource;
  /** Slabs of zeros become holes instead of data. */
  readonly punch: boolean;
}

/**
 * Writes a body to `range`. Resolves once all of it is written (not flushed). When the source ends early what
 * arrived is written first, then `incomplete` is thrown, or the source's own error. After an abort nothing more is written
 * once this has rejected.
 */
export async function landOnDevice(landing: Landing, signal: AbortSignal): Promise<void> {
  // Whatever holds the bytes up needs the ordinary path.
  const moved = landing.means.limit === undefined ? await moveToDevice(landing, signal) : NOTHING_MOVED;
  const body = new LandingBody(landing, moved.bytes, signal);
  try {
    if (moved.rest.length > 0) await body.take(moved.rest);
    await landing.source.drain((chunk) => body.take(chunk), signal);
    await body.end();
  } catch (error) {
    await body.breakOff();
    throw error;
  } finally {
    body.dispose();
  }
}

/** Sends `range` in order: data by reads that run ahead, zeros without a read. */
export async function sendFromDevice(move: DeviceMove, sink: ByteSink, signal: AbortSignal): Promise<void> {
  const { device, range, means } = move;
  const { slabs, sender, limit } = means;
  const reader = {
    read: (into: Uint8Array, offset: number) => device.read(bufferOf(into), offset, signal),
    extents: (within: Range) => asExtents(device, within, signal),
    lendForReading: () => device.lendForReading?.(),
  };
  await sendRange({ reader, range, slabs, sender, limit, onBytes: move.onBytes }, sink, signal);
}

/** Zeroes `range` in steps; after an abort no further one begins. */
export async function zeroOnDevice(move: DeviceMove, signal: AbortSignal): Promise<void> {
  for (const step of cutAt(move.range, ZERO_STEP)) {
    signal.throwIfAborted();
    await move.device.zero(step, signal);
    move.onBytes(step.length);
  }
}

async function* asExtents(device: Device, range: Range, signal: AbortSignal): AsyncGenerator<Extent> {
  for await (const { offset, length, zero } of device.extents(range, signal)) {
    yield { offset, length, kind: zero ? 'hole' : 'data' };
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Filling {
  readonly slab: Slab;
  /** Where in the device its first byte belongs. */
  readonly offset: number;
  /** It ends at a multiple of a slab's size in the device. */
  readonly room: number;
  used: number;
}

interface Writing {
  readonly bytes: number;
  readonly done: Promise<void>;
  written: boolean;
}

/** One body on its way to a device: a slab that fills, and up to three that are being written. */
class LandingBody {
  readonly #landing: Landing;
  readonly #signal: AbortSignal;
  readonly #patience: NodeJS.Timeout;
  #writing: Writing[] = [];
  #filling: Filling | undefined;
  #next: number;
  #failure: { readonly error: unknown } | undefined;
  #idle = false;
  #waiting = false;

  /** So many bytes of the range are there already. */
  constructor(landing: Landing, done: number, signal: AbortSignal) {
    this.#landing = landing;
    this.#signal = signal;
    this.#next = landing.range.offset + done;
    this.#patience = setInterval(() => this.#letGo(), PATIENCE_MS).unref();
  }

  /** Keeps nothing of `chunk`; a promise holds the source back. */
  take(chunk: Uint8Array): Promise<void> | undefined {
    this.#idle = false;
    const wait = this.#landing.means.limit?.spend(chunk.length) ?? 0;
    const left = this.#fill(chunk);
    if (left.length === 0 && wait === 0 && this.#failure === undefined) return undefined;
    return this.#takeSlowly(left, wait);
  }

  async end(): Promise<void> {
    this.#writeOut();
    await this.#settle();
    const missing = rangeEnd(this.#landing.range) - this.#next;
    if (missing > 0) throw short(this.#landing.range.length, missing);
  }

  /** What arrived is written, unless the reason is an abort; then what is under way has ended. */
  async breakOff(): Promise<void> {
    if (!this.#signal.aborted && this.#failure === undefined) this.#writeOut();
    await this.#settle().catch(() => {}); // the first reason is the one that is thrown
  }

  dispose(): void {
    clearInterval(this.#patience);
    if (this.#filling !== undefined) this.#landing.means.slabs.release(this.#filling.slab);
    this.#filling = undefined;
  }

  async #takeSlowly(chunk: Uint8Array, wait: number): Promise<void> {
    this.#waiting = true;
    let left = chunk;
    try {
      for (;;) {
        this.#mustGoOn();
        while (this.#writing.length >= OUTSTANDING) await this.#oneWritten();
        if (left.length === 0) break;
        const slab = this.#another() ?? (await this.#nextSlab());
        if (slab === undefined) continue;
        this.#begin(slab);
        left = this.#fill(left);
      }
    } finally {
      this.#waiting = false;
    }
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  }

  /** Copies what fits into slabs that can be had at once; what is left of it. */
  #fill(chunk: Uint8Array): Uint8Array {
    let left = chunk;
    if (left.length > rangeEnd(this.#landing.range) - this.#next)
      throw new HawserError('out-of-range', 'The body is longer than it said.');
    while (left.length > 0) {
      if (this.#filling === undefined) {
        const slab = this.#writing.length < OUTSTANDING ? this.#another() : undefined;
        if (slab === undefined) return left;
        this.#begin(slab);
      }
      const filling = this.#filling;
      if (filling === undefined) return left;
      const piece = left.subarray(0, filling.room - filling.used);
      filling.slab.bytes.set(piece, filling.used);
      filling.used += piece.length;
      this.#next += piece.length;
      left = left.subarray(piece.length);
      if (filling.used === filling.room) this.#writeOut();
    }
    return left;
  }

  /** Without waiting. */
  #another(): Slab | undefined {
    return this.#landing.means.slabs.tryAcquire(this.#writing.length === 0 ? 0 : FOR_OTHERS);
  }

  /** Undefined when one of its own is free by now instead. */
  async #nextSlab(): Promise<Slab | undefined> {
    if (this.#writing.length === 0) return this.#landing.means.slabs.acquire(this.#signal);
    await this.#oneWritten();
    return undefined;
  }

  #begin(slab: Slab): void {
    const offset = this.#next;
    const room = Math.min(SLAB_BYTES - (offset % SLAB_BYTES), rangeEnd(this.#landing.range) - offset);
    this.#filling = { slab, offset, room, used: 0 };
  }

  #writeOut(): void {
    const filling = this.#filling;
    if (filling === undefined) return;
    this.#filling = undefined;
    const { slabs } = this.#landing.means;
    const writing: Writing = {
      bytes: filling.used,
      written: false,
      done: this.#write(filling)
        .finally(() => slabs.release(filling.slab))
        .then(
          () => {
            writing.written = true;
            this.#report();
          },
          (error: unknown) => {
            this.#failure ??= { error };
          },
        ),
    };
    this.#writing.push(writing);
  }

  async #write({ slab, offset, used }: Filling): Promise<void> {
    const { device, punch } = this.#landing;
    const bytes = slab.bytes.subarray(0, used);
    if (used === 0) return;
    if (punch && isZero(bytes)) await device.zero({ offset, length: used }, this.#signal);
    else await device.write(bytes, offset, this.#signal);
  }

  /** Progress is a beginning: what was written ahead of it waits. */
  #report(): void {
    while (this.#writing[0]?.written === true) {
      const [first] = this.#writing.splice(0, 1);
      this.#landing.onBytes(first?.bytes ?? 0);
    }
  }

  async #oneWritten(): Promise<void> {
    await Promise.race(this.#writing.filter(({ written }) => !written).map(({ done }) => done));
    this.#mustGoOn();
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#writing.map(({ done }) => done));
    this.#mustGoOn();
  }

  #mustGoOn(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#signal.throwIfAborted();
  }

  /** Nothing came for a while, and others wait for slabs. */
  #letGo(): void {
    if (this.#idle && !this.#waiting && this.#landing.means.slabs.contended) this.#writeOut();
    this.#idle = true;
  }
}

function short(wanted: number, missing: number): HawserError {
  return new HawserError('incomplete', `Requested ${wanted} bytes, available ${wanted - missing} bytes`, {
    details: { wanted, available: wanted - missing },
  });
}
