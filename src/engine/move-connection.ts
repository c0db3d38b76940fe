import type { ByteSource, LentConnection } from '../core/bytes.ts';
import { HawserError } from '../core/errors.ts';
import type { MovedSegment, MoveEnd, Mover } from '../core/mover.ts';
import type { Range } from '../core/range.ts';
import type { LentFile } from '../stores/store.ts';
import { MoverSlabs } from './mover-slabs.ts';
import type { Slab, SlabPool } from './slab-pool.ts';

/** Shorter bodies are not worth the way to another thread. */
const WORTH_MOVING = 2 * 1024 * 1024;

/** A client that says nothing for so long goes back to the ordinary path, which knows when to give it up. */
const PATIENCE_MS = 30_000;

/** Slabs that keep a mover busy: where they wait for a digest, for who writes them, and where one is let go as it is written. */
const HASHED_SLABS = 8;
const RECEIVED_SLABS = 6;
const PLAIN_SLABS = 4;

export interface MovedBody {
  /** From the beginning of the body, settled. */
  readonly bytes: number;
  /** What comes next; the source goes on behind it. */
  readonly rest: Uint8Array;
}

export const NOTHING_MOVED: MovedBody = { bytes: 0, rest: new Uint8Array() };

/** Where the body goes, and how. */
export interface MoveTarget {
  readonly range: Range;
  readonly digests: boolean;
  /** Zeros are not written; `settle` sees to them. */
  readonly skipsZeros: boolean;
  /** Undefined when the file must not be written by others. Without a descriptor the segments come with their bytes. */
  lend(): Promise<MovedInto | undefined>;
  /** Told as soon as it is known: these bytes were received, and are in the file or zeros. */
  readonly onMoved?: ((bytes: number) => void) | undefined;
  /** Makes them count. Called for all segments, in order, the next time when the last has resolved. */
  settle(segments: readonly Moved[]): Promise<void>;
}

export type MovedInto = Omit<LentFile, 'fd'> & { readonly fd: number | undefined };

/** `bytes`, where they are in no file yet, hold until `settle` has resolved or rejected. */
export type Moved = MovedSegment & { readonly bytes?: Buffer | undefined };

export interface MoveMeans {
  readonly mover?: Mover | undefined;
  readonly slabs: SlabPool;
}

/** Whether there is anything that could move such a body. */
export function isWorthMoving({ mover }: MoveMeans, source: ByteSource, { length }: Range): boolean {
  return mover !== undefined && source.lend !== undefined && length >= WORTH_MOVING;
}

/**
 * Lets a mover take the body from its connection into a file, as far as that goes; the rest is for the
 * ordinary path, which also finds out what is wrong. Nothing is moved unless the source lends its
 * connection and the target its file. `stop` ends the move and leaves the rest to others; `signal` also
 * makes it fail: rejects with its reason, and with what `settle` rejected with. Nothing is written afterwards.
 */
export async function moveConnection(
  parts: { readonly means: MoveMeans; readonly source: ByteSource; readonly target: MoveTarget },
  { stop, signal }: { readonly stop: AbortSignal; readonly signal: AbortSignal },
): Promise<MovedBody> {
  const { source, target } = parts;
  if (!isWorthMoving(parts.means, source, target.range)) return NOTHING_MOVED;
  const file = await target.lend();
  if (file === undefined) return NOTHING_MOVED;
  try {
    const mover = laneOf(parts.means.mover, file);
    if (signal.aborted || mover === undefined) return NOTHING_MOVED;
    using slabs = MoverSlabs.of(mover, parts.means.slabs).borrow(slabsFor(target, file));
    const connection = slabs === undefined ? undefined : source.lend?.();
    if (slabs === undefined || connection === undefined) return NOTHING_MOVED;
    const running = new RunningMove({ mover, slabs: slabs.all, file, connection, target });
    return await running.run(AbortSignal.any([signal, stop, connection.closed]), signal);
  } finally {
    file.giveBack();
  }
}

function slabsFor({ digests }: MoveTarget, { fd }: MovedInto): number {
  if (digests) return HASHED_SLABS;
  return fd === undefined ? RECEIVED_SLABS : PLAIN_SLABS;
}

function laneOf(mover: Mover | undefined, { place }: MovedInto): Mover | undefined {
  return mover?.lane === undefined ? mover : mover.lane(place);
}

interface RunningMoveParts {
  readonly mover: Mover;
  readonly slabs: readonly Slab[];
  readonly file: MovedInto;
  readonly connection: LentConnection;
  readonly target: MoveTarget;
}

class RunningMove {
  readonly #parts: RunningMoveParts;
  #bytes = 0;
  #settling: Promise<void> = Promise.resolve();
  #error: unknown;
  #dealtWith: (segments: number) => void = () => {};
  #recall = () => {};
  #giveBack: (slab: number) => void = () => {};

  constructor(parts: RunningMoveParts) {
    this.#parts = parts;
  }

  async run(stop: AbortSignal, signal: AbortSignal): Promise<MovedBody> {
    const { connection } = this.#parts;
    const end = await this.#move(stop);
    if (end === undefined) {
      connection.giveBack();
      return NOTHING_MOVED;
    }
    await this.#settling;
    if (end.kind === 'lost') {
      connection.abandon();
      throw new HawserError(
        'internal',
        'The thread that received the body ended. Send what was not acknowledged again.',
        {
          cause: end.cause,
        },
      );
    }
    const rest = end.kind === 'unwritten' ? end.bytes : NOTHING_MOVED.rest;
    connection.took(rest.length);
    connection.giveBack();
    if (this.#error !== undefined) throw this.#error;
    signal.throwIfAborted();
    return { bytes: this.#bytes, rest };
  }

  /** Undefined when it cannot be begun. */
  #move(stop: AbortSignal): Promise<MoveEnd | undefined> {
    const { mover, connection, file, slabs, target } = this.#parts;
    const { range, digests, skipsZeros } = target;
    const patience = Math.min(PATIENCE_MS, connection.patience ?? PATIENCE_MS);
    return new Promise((resolve) => {
      const recall = () => this.#recall();
      const move = mover.begin(
        {
          socket: connection.fd,
          tls: connection.tls,
          lead: connection.lead,
          file: file.fd,
          range,
          digests,
          skipsZeros,
          patience,
          slabs,
        },
        {
          moved: (segments) => this.#moved(segments),
          ended: (how) => {
            stop.removeEventListener('abort', recall);
            resolve(how);
          },
        },
      );
      if (move === undefined) return resolve(undefined);
      this.#dealtWith = move.dealtWith;
      this.#recall = move.recall;
      this.#giveBack = move.giveBack;
      if (stop.aborted) recall();
      else stop.addEventListener('abort', recall, { once: true });
    });
  }

  #moved(segments: readonly MovedSegment[]): void {
    const { connection, file, target } = this.#parts;
    let bytes = 0;
    for (const segment of segments) {
      bytes += segment.length;
      if (!segment.zero) file.wrote(segment);
    }
    connection.took(bytes);
    target.onMoved?.(bytes);
    this.#settling = this.#settling.then(() => this.#settle(segments, bytes));
  }

  async #settle(segments: readonly MovedSegment[], bytes: number): Promise<void> {
    try {
      if (this.#error !== undefined) return;
      await this.#parts.target.settle(segments.map((segment) => this.#withBytes(segment)));
      this.#bytes += bytes;
      this.#dealtWith(segments.length);
    } catch (error) {
      this.#error = error;
      this.#recall();
    } finally {
      for (const { slab } of segments) if (slab !== undefined) this.#giveBack(slab);
    }
  }

  #withBytes(segment: MovedSegment): Moved {
    if (segment.slab === undefined) return segment;
    const slab = this.#parts.slabs.find(({ index }) => index === segment.slab);
    return { ...segment, bytes: slab?.bytes.subarray(0, segment.length) };
  }
}
