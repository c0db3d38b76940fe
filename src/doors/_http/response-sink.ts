import type { ServerResponse } from 'node:http';
import type { ByteSink } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { lendResponse } from './lent-response.ts';

/** A response body as a sink: `write` resolves once the kernel has the bytes. Its head has been written. `signal` fires when the client goes away. */
export function responseSink(response: ServerResponse): { readonly sink: ByteSink; readonly signal: AbortSignal } {
  const gone = new AbortController();
  let waiting: ((error: unknown) => void) | undefined;
  const lost = new HawserError('connection-lost', 'The client went away.');
  response.on('close', () => {
    if (response.writableFinished) return;
    gone.abort(lost);
    waiting?.(lost);
  });
  return {
    signal: gone.signal,
    sink: {
      lend: () => (gone.signal.aborted ? undefined : lendResponse(response)),
      write: (chunk) =>
        new Promise((resolve, reject) => {
          if (gone.signal.aborted || response.destroyed) return reject(lost);
          waiting = reject;
          response.write(chunk, (error) => {
            waiting = undefined;
            if (error) reject(lost);
            else resolve();
          });
        }),
    },
  };
}
