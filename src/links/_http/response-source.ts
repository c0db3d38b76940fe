import type { IncomingMessage } from 'node:http';
import type { ByteSource, LentConnection } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';

export interface ResponseLimits {
  /** Bytes that must come; null: until the body ends. */
  readonly length: number | null;
  /** Without a byte for so long the connection is given up, milliseconds. There is no limit on the whole. */
  readonly stallMs: number;
  /** Told of bytes that passed in Buffers which are garbage by now. */
  readonly passed: (bytes: number) => void;
  /** Lends the connection of an answer whose body nobody has begun to read. */
  readonly lend?: ((response: IncomingMessage) => LentConnection | undefined) | undefined;
}

/**
 * The body of an answer, held back while the taker is busy. An answer that was not drained to its end loses its
 * connection. It is only lent when its Content-Length is what must come.
 */
export function responseSource(response: IncomingMessage, limits: ResponseLimits): ByteSource {
  const { length } = limits;
  let lent = 0;
  return {
    drain: (take, signal) =>
      drain(response, { ...limits, lent, take, signal }).catch((error: unknown) => {
        response.destroy();
        throw error;
      }),
    lend: () => {
      if (length === null || response.headers['content-length'] !== String(length)) return undefined;
      const connection = limits.lend?.(response);
      return (
        connection && {
          ...connection,
          patience: limits.stallMs / 2,
          took: (bytes) => {
            lent += bytes;
            connection.took(bytes);
          },
        }
      );
    },
  };
}

interface Draining extends ResponseLimits {
  /** Bytes that others took before. */
  readonly lent: number;
  readonly take: (chunk: Uint8Array) => Promise<void> | undefined;
  readonly signal: AbortSignal;
}

function drain(response: IncomingMessage, limits: Draining): Promise<void> {
  const { length, passed, take, signal } = limits;
  // Half of its patience is over when a borrower gives a silent connection back.
  const stallMs = limits.lent > 0 ? limits.stallMs / 2 : limits.stallMs;
  return new Promise((resolve, reject) => {
    let busy: Promise<void> | undefined;
    let bytes = limits.lent;
    let heard = performance.now();
    const watch = setInterval(() => {
      if (busy === undefined && performance.now() - heard > stallMs) fail(stalled(limits.stallMs));
    }, stallMs / 8).unref();

    const leave = () => {
      clearInterval(watch);
      response.off('data', onData).off('end', onEnd).off('close', onBroken).off('error', onBroken);
      response.on('error', () => {}); // of a connection that nobody waits for any more
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown) => {
      leave();
      reject(error);
    };
    const onData = (chunk: Buffer) => {
      heard = performance.now();
      bytes += chunk.length;
      try {
        if (length !== null && bytes > length) throw tooMany(length);
        busy = take(chunk);
      } catch (error) {
        return fail(error);
      }
      passed(chunk.length);
      if (busy === undefined) return;
      response.pause();
      busy.then(goOn, fail);
    };
    const goOn = () => {
      busy = undefined;
      heard = performance.now();
      if (response.readableEnded) onEnd();
      else if (response.destroyed) onBroken();
      else response.resume();
    };
    const onEnd = () => {
      if (busy !== undefined) return;
      // A connection that closed in the middle of a body without a length looks like its end: node tells them apart.
      if ((length !== null && bytes < length) || !response.complete) return onBroken();
      leave();
      resolve();
    };
    const onBroken = () => {
      // The last bytes may still be on their way into the Store; they count.
      if (busy === undefined) fail(broken(bytes, length));
    };
    const onAbort = () => fail(signal.reason);

    if (signal.aborted) return fail(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    response.on('data', onData).on('end', onEnd).on('close', onBroken).on('error', onBroken);
    if (response.destroyed && !response.readableEnded) onBroken();
  });
}

function stalled(ms: number): HawserError {
  return new HawserError('connection-lost', `The source has sent nothing for ${Math.round(ms / 1000)} s.`);
}

function broken(bytes: number, length: number | null): HawserError {
  const whole = length === null ? 'the whole' : `${length}`;
  return new HawserError('connection-lost', `The connection to the source broke after ${bytes} of ${whole} bytes.`);
}

function tooMany(length: number): HawserError {
  return new HawserError(
    'unsupported',
    `The source sends more than the ${length} bytes that it announced. It is broken; fetch from another place.`,
  );
}
