import type { IncomingMessage } from 'node:http';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { passedInBuffers } from '../../native/young-garbage.ts';
import { lendConnection } from './lent-connection.ts';

/** A body that says nothing for so long is given up, unless its door says otherwise; what arrived is kept. */
const IDLE_MS = 120_000;

/** The body of a request, chunk by chunk as the socket gives it, held back while the taker is busy. Never destroys the request. */
export function bodySource(request: IncomingMessage, idleMs: number = IDLE_MS): ByteSource {
  return { drain: (take, signal) => drain({ request, idleMs }, take, signal), lend: () => lendConnection(request) };
}

function drain(
  { request, idleMs }: { readonly request: IncomingMessage; readonly idleMs: number },
  take: (chunk: Uint8Array) => Promise<void> | undefined,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let busy: Promise<void> | undefined;
    let ended = false;
    let heard = performance.now();
    const idle = setInterval(() => {
      if (busy === undefined && performance.now() - heard > idleMs)
        fail(lost('The client has sent nothing for too long.'));
    }, Math.min(idleMs, IDLE_MS) / 8).unref();

    const leave = () => {
      clearInterval(idle);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown) => {
      leave();
      request.pause();
      reject(error);
    };
    const onData = (chunk: Buffer) => {
      heard = performance.now();
      try {
        busy = take(chunk);
      } catch (error) {
        return fail(error);
      }
      passedInBuffers(chunk.length);
      if (busy === undefined) return;
      request.pause();
      busy.then(goOn, fail);
    };
    const goOn = () => {
      busy = undefined;
      heard = performance.now();
      if (ended) finish();
      else request.resume();
    };
    const onEnd = () => {
      ended = true;
      if (busy === undefined) finish();
    };
    const finish = () => {
      leave();
      resolve();
    };
    const onClose = () => {
      // The last bytes may still be on their way into the store; they count.
      if (!ended) Promise.resolve(busy).then(() => fail(lost('The connection broke before the body was whole.')), fail);
    };
    const onAbort = () => fail(signal.reason);

    if (signal.aborted) return fail(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
    if (request.readableEnded) onEnd();
    else if (request.destroyed) onClose();
    else request.resume(); // it stands still when it was lent
  });
}

function lost(message: string): HawserError {
  return new HawserError(
    'connection-lost',
    `${message} What arrived is kept; ask for the received ranges and send the rest.`,
  );
}
