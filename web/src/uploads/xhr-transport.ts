import type { TransportAnswer, UploadTransport } from '../../../src/client/ports.ts';
import { HawserError } from '../../../src/core/errors.ts';

/** XMLHttpRequest, because it tells how much of a body has gone out; fetch does not. */
export const xhrTransport: UploadTransport = {
  put({ url, headers, body, onSent, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      const ended = () => signal.removeEventListener('abort', stop);
      request.open('PUT', url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => onSent?.(event.loaded);
      request.onload = () => {
        ended();
        resolve({ status: request.status, headers: headersOf(request), body: request.responseText });
      };
      request.onerror = () => {
        ended();
        reject(new HawserError('connection-lost', 'The connection broke while bytes were being sent.'));
      };
      request.onabort = () => {
        ended();
        reject(signal.reason);
      };
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener('abort', stop, { once: true });
      request.send(body as Uint8Array<ArrayBuffer>);
    });
  },
};

function headersOf(request: XMLHttpRequest): TransportAnswer['headers'] {
  const lines = request.getAllResponseHeaders().trim().split(/\r?\n/);
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}
