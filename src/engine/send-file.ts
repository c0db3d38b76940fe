import type { ByteSink, LentOutput } from '../core/bytes.ts';
import { HawserError } from '../core/errors.ts';
import type { Range } from '../core/range.ts';
import type { SendEnd, Sender, SendPiece } from '../core/sender.ts';
import type { Extent, LentForReading } from '../stores/store.ts';

/** Shorter bodies are not worth the way to another thread. */
const WORTH_SENDING = 1024 * 1024;

/** Of one message to the thread. */
const MOST_PIECES = 256;

/** As long as a message can say; the client has all the time. */
const FOR_EVER = 2 ** 31 - 1;

export interface FileToSend {
  readonly sender: Sender;
  readonly range: Range;
  /** Of `range`, in order. */
  extents(): AsyncIterable<Extent>;
  /** Undefined when others must not read the file. */
  lend(): LentForReading | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Lets a sender send the range into the connection of `sink`, as far as that goes; the rest is for the ordinary
 * path, which also finds out what is wrong with a file. Nothing is sent unless both can be lent. Bytes that were
 * sent, from the beginning. Rejects with `connection-lost` when the client is gone or takes nothing for too long,
 * and with the signal's reason; then nothing more is sent.
 */
export async function sendFile(what: FileToSend, sink: ByteSink, signal: AbortSignal): Promise<number> {
  if (what.range.length < WORTH_SENDING || sink.lend === undefined) return 0;
  const file = what.lend();
  if (file === undefined) return 0;
  try {
    const sender = laneOf(what.sender, file);
    const connection = sender === undefined ? undefined : sink.lend();
    if (sender === undefined || connection === undefined) return 0;
    return await new FileSending({ what: { ...what, sender }, file, connection }).run(signal);
  } finally {
    file.giveBack();
  }
}

function laneOf(sender: Sender, { place }: LentForReading): Sender | undefined {
  return sender.lane === undefined ? sender : sender.lane(place);
}

interface FileSendingParts {
  readonly what: FileToSend;
  readonly file: LentForReading;
  readonly connection: LentOutput;
}

class FileSending {
  readonly #parts: FileSendingParts;
  #bytes = 0;

  constructor(parts: FileSendingParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<number> {
    const { what, connection } = this.#parts;
    const stop = AbortSignal.any([signal, connection.closed]);
    let mayWriteOn = true;
    try {
      for await (const pieces of together(what.extents())) {
        stop.throwIfAborted();
        const end = await this.#send(pieces, stop);
        mayWriteOn = end === undefined || end.kind === 'sent' || end.kind === 'returned' || end.kind === 'unsent';
        if (end === undefined || end.kind === 'unsent') break;
        mustBeThere(end);
        stop.throwIfAborted();
      }
    } catch (error) {
      throw signal.aborted || !connection.closed.aborted ? error : gone();
    } finally {
      if (mayWriteOn) connection.giveBack();
      else connection.abandon();
    }
    return this.#bytes;
  }

  /** Undefined when it cannot be begun. */
  #send(pieces: readonly SendPiece[], stop: AbortSignal): Promise<SendEnd | undefined> {
    const { what, file, connection } = this.#parts;
    const patience = Math.min(connection.patience ?? FOR_EVER, FOR_EVER);
    return new Promise((resolve) => {
      let recall = () => {};
      const onStop = () => recall();
      const sending = what.sender.begin(
        { socket: connection.fd, tls: connection.tls, file: file.fd, pieces, patience },
        {
          sent: (bytes) => {
            this.#bytes += bytes;
            file.sent(bytes);
            what.onBytes?.(bytes);
          },
          ended: (how) => {
            stop.removeEventListener('abort', onStop);
            resolve(how);
          },
        },
      );
      if (sending === undefined) return resolve(undefined);
      recall = sending.recall;
      if (stop.aborted) recall();
      else stop.addEventListener('abort', onStop, { once: true });
    });
  }
}

async function* together(extents: AsyncIterable<Extent>): AsyncGenerator<readonly SendPiece[]> {
  let pieces: SendPiece[] = [];
  for await (const { offset, length, kind } of extents) {
    if (length > 0) pieces.push({ offset, length, zero: kind === 'hole' });
    if (pieces.length < MOST_PIECES) continue;
    yield pieces;
    pieces = [];
  }
  if (pieces.length > 0) yield pieces;
}

function mustBeThere(end: SendEnd): void {
  switch (end.kind) {
    case 'gone':
      throw gone();
    case 'stalled':
      throw new HawserError('connection-lost', 'The client took nothing for too long.');
    case 'lost':
      throw new HawserError('internal', 'The thread that sent the bytes ended. Ask for what is missing again.', {
        cause: end.cause,
      });
  }
}

function gone(): HawserError {
  return new HawserError('connection-lost', 'The client went away.');
}
