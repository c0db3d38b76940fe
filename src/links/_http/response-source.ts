import type { IncomingMessage } from 'node:http';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';

export interface ResponseLimits {
  /** Bytes that must come; null: until the body ends. */
  readonly length: number | null;
  /** Without a byte for so long the connection is given up, milliseconds. There is no limit on the whole. */
  readonly stallMs: number;
  /** Told of bytes that passed in Buffers which are garbage by now. */
  readonly passed: (bytes: number) => void;
}

/** The body of an answer, held back while the taker is busy. An answer that was not drained to its end loses its connection. */
export function responseSource(response: IncomingMessage, limits: ResponseLimits): ByteSource {
  return {
    drain: (take, signal) =>
      drain(response, { ...limits, take, signal }).catch((error: unknown) => {
        response.destroy();
        throw error;
      }),
  };
}

interface Draining extends ResponseLimits {
  readonly take: (chunk: Uint8Array) => Promise<void> | undefined;
  readonly signal: AbortSignal;
}

function drain(response: IncomingMessage, limits: Draining): Promise<void> {
  const { length, stallMs, passed, take, signal } = limits;
  return new Promise((resolve, reject) => {
    let busy: Promise<void> | undefined;
    let bytes = 0;
    let heard = performance.now();
    const watch = setInterval(() => {
      if (busy === undefined && performance.now() - heard > stallMs) fail(stalled(stallMs));
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
