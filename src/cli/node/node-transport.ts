import type { ClientRequest, IncomingMessage } from 'node:http';
import type {
  DownloadTransport,
  GetAnswer,
  GetRequest,
  PutRequest,
  TransportAnswer,
  UploadTransport,
} from '../../client/ports.ts';
import { collect, type HttpConnection, headersOf } from './http-connection.ts';
import { doneWith } from './young-garbage.ts';

const SLICE = 256 * 1024;
/** How long to wait for `100 Continue`: not everything on the way knows it. */
const CONTINUE_MS = 1000;

/** Bodies straight from the caller's buffers over node's HTTP client. */
export class NodeTransport implements UploadTransport, DownloadTransport {
  readonly #connection: HttpConnection;
  /** The largest body that each origin has taken. Larger ones ask first, so that a refusal is heard. */
  readonly #proven = new Map<string, number>();

  constructor(connection: HttpConnection) {
    this.#connection = connection;
  }

  put({ url, ca, host, headers, body, onSent, signal }: PutRequest): Promise<TransportAnswer> {
    const { origin } = new URL(url);
    const asks = body.length > (this.#proven.get(origin) ?? 0);
    return new Promise<TransportAnswer>((resolve, reject) => {
      signal.throwIfAborted();
      const request = this.#connection.request(url, {
        method: 'PUT',
        ca,
        ofHost: host,
        headers: { ...headers, 'content-length': String(body.length), ...(asks ? { expect: '100-continue' } : {}) },
      });
      const abort = () => request.destroy(asError(signal.reason));
      signal.addEventListener('abort', abort, { once: true });
      request.once('close', () => signal.removeEventListener('abort', abort));
      request.on('error', (error) => reject(signal.aborted ? signal.reason : error));
      request.once('response', (response) => {
        this.#answer(request, response).then((answer) => {
          if (answer.status < 300) this.#proven.set(origin, Math.max(body.length, this.#proven.get(origin) ?? 0));
          resolve(answer);
        }, reject);
      });
      if (asks) whenWelcome(request, () => send(request, body, onSent));
      else send(request, body, onSent);
    });
  }

  async #answer(request: ClientRequest, response: IncomingMessage): Promise<TransportAnswer> {
    const complete = request.writableFinished;
    const body = await collect(response);
    // Refused before all was sent: what is left of the body must not follow on this connection.
    if (!complete && !request.writableFinished) request.destroy();
    return { status: response.statusCode ?? 0, headers: headersOf(response), body: body.toString('utf8') };
  }

  get({ url, ca, host, headers, into, onReceived, signal }: GetRequest): Promise<GetAnswer> {
    return new Promise<GetAnswer>((resolve, reject) => {
      signal.throwIfAborted();
      const request = this.#connection.request(url, { method: 'GET', ca, ofHost: host, headers: { ...headers } });
      const abort = () => request.destroy(asError(signal.reason));
      signal.addEventListener('abort', abort, { once: true });
      request.once('close', () => signal.removeEventListener('abort', abort));
      request.on('error', (error) => reject(signal.aborted ? signal.reason : error));
      request.once('response', (response) => {
        const status = response.statusCode ?? 0;
        const answer = { status, headers: headersOf(response) };
        if (status < 200 || status > 299) {
          collect(response).then((body) => resolve({ ...answer, body: body.toString('utf8'), length: 0 }), reject);
          return;
        }
        if (Number(answer.headers['content-length'] ?? 0) > into.length) {
          request.destroy();
          resolve({ ...answer, body: '', length: 0 });
          return;
        }
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          if (length + chunk.length > into.length) {
            request.destroy(new Error(`the answer is longer than the ${into.length} bytes that were asked for`));
            return;
          }
          into.set(chunk, length);
          length += chunk.length;
          doneWith(chunk.length);
          onReceived?.(length);
        });
        response.once('end', () => resolve({ ...answer, body: '', length }));
        response.once('error', reject);
        response.once('close', () => reject(new Error('the connection closed in the middle of the answer')));
      });
      request.end();
    });
  }
}

/** Slice by slice, waiting for the socket: what is sent is what `onSent` says, and the body is never copied. */
function send(request: ClientRequest, body: Uint8Array, onSent: PutRequest['onSent']): void {
  let at = 0;
  let sent = 0;
  const more = () => {
    while (at < body.length) {
      if (request.destroyed) return;
      const slice = body.subarray(at, at + SLICE);
      at += slice.length;
      const room = request.write(slice, (error) => {
        if (error !== null && error !== undefined) return;
        sent += slice.length;
        onSent?.(sent);
      });
      if (!room && at < body.length) {
        request.once('drain', more);
        return;
      }
    }
    request.end();
  };
  more();
}

function whenWelcome(request: ClientRequest, go: () => void): void {
  let gone = false;
  const once = () => {
    clearTimeout(timer);
    if (!gone && !request.destroyed) go();
    gone = true;
  };
  const never = () => {
    gone = true;
    clearTimeout(timer);
  };
  const timer = setTimeout(once, CONTINUE_MS);
  request.once('continue', once);
  request.once('response', never);
  request.once('close', never);
  request.flushHeaders();
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
