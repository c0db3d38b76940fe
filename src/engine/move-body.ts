import type { ByteSource, LentConnection } from '../core/bytes.ts';
import { HawserError } from '../core/errors.ts';
import type { MovedSegment, MoveEnd, Mover, MoverSlab } from '../core/mover.ts';
import type { Range } from '../core/range.ts';
import type { LentFile } from '../stores/store.ts';
import type { EngineMeans, Incoming } from './incoming.ts';
import { MoverSlabs } from './mover-slabs.ts';
import type { Reservation } from './segments.ts';

/** Shorter bodies are not worth the way to another thread. */
const WORTH_MOVING = 2 * 1024 * 1024;

export interface MovedBody {
  /** From the beginning of the body, acknowledged. */
  readonly bytes: number;
  /** What comes next; the source goes on behind it. */
  readonly rest: Uint8Array;
}

export const NOTHING_MOVED: MovedBody = { bytes: 0, rest: new Uint8Array() };

/**
 * Lets a mover take the body from its connection into the file of the object, as far as that goes; the
 * rest is for the ordinary path, which also finds out what is wrong. Nothing is moved unless the
 * source lends its connection, the writer its file, and all of the range is new. Rejects when what was
 * moved could not be acknowledged, and with the signal's reason.
 */
export async function moveBody(
  parts: { readonly incoming: Incoming; readonly means: EngineMeans },
  request: { readonly range: Range; readonly onBytes?: ((bytes: number) => void) | undefined },
  source: ByteSource,
  signal: AbortSignal,
): Promise<MovedBody> {
  const { incoming, means } = parts;
  const { range } = request;
  const { mover } = means;
  if (mover === undefined || source.lend === undefined || range.length < WORTH_MOVING) return NOTHING_MOVED;
  const stop = new AbortController();
  const reservation = incoming.reserve(range, () => stop.abort());
  if (reservation === undefined) return NOTHING_MOVED;
  let file: LentFile | undefined;
  try {
    file = await incoming.writer.lend?.(range);
    if (file === undefined || signal.aborted) return NOTHING_MOVED;
    using slabs = MoverSlabs.of(means.slabs).borrow();
    const connection = slabs === undefined ? undefined : source.lend();
    if (slabs === undefined || connection === undefined) return NOTHING_MOVED;
    const running = new RunningMove({
      mover,
      slabs: slabs.all,
      reservation,
      file,
      connection,
      range,
      onBytes: request.onBytes,
    });
    return await running.run(AbortSignal.any([signal, stop.signal, connection.closed]), signal);
  } finally {
    file?.giveBack();
    reservation.release();
  }
}

interface RunningMoveParts {
  readonly mover: Mover;
  readonly slabs: readonly MoverSlab[];
  readonly reservation: Reservation;
  readonly file: LentFile;
  readonly connection: LentConnection;
  readonly range: Range;
  readonly onBytes: ((bytes: number) => void) | undefined;
}

class RunningMove {
  readonly #parts: RunningMoveParts;
  #bytes = 0;
  #acknowledging: Promise<void> = Promise.resolve();
  #error: unknown;
  #dealtWith: (segments: number) => void = () => {};
  #recall = () => {};

  constructor(parts: RunningMoveParts) {
    this.#parts = parts;
  }

  /** `stop` ends the move and leaves the rest to others; `signal` also makes it fail. */
  async run(stop: AbortSignal, signal: AbortSignal): Promise<MovedBody> {
    const { connection } = this.#parts;
    const end = await this.#move(stop);
    if (end === undefined) {
      connection.giveBack();
      return NOTHING_MOVED;
    }
    await this.#acknowledging;
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
    const { mover, connection, file, range, slabs } = this.#parts;
    return new Promise((resolve) => {
      const recall = () => this.#recall();
      const move = mover.begin(
        { socket: connection.fd, lead: connection.lead, file: file.fd, range, slabs },
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
      if (stop.aborted) recall();
      else stop.addEventListener('abort', recall, { once: true });
    });
  }

  #moved(segments: readonly MovedSegment[]): void {
    const { connection, file, onBytes } = this.#parts;
    let bytes = 0;
    for (const segment of segments) {
      bytes += segment.length;
      if (segment.sha256 !== null) file.wrote(segment);
    }
    connection.took(bytes);
    onBytes?.(bytes);
    this.#acknowledging = this.#acknowledging.then(() => this.#acknowledge(segments, bytes));
  }

  async #acknowledge(segments: readonly MovedSegment[], bytes: number): Promise<void> {
    if (this.#error !== undefined) return;
    try {
      await this.#parts.reservation.acknowledge(segments);
      this.#bytes += bytes;
      this.#dealtWith(segments.length);
    } catch (error) {
      this.#error = error;
      this.#recall();
    }
  }
}
