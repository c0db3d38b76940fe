import http from 'node:http';
import https from 'node:https';
import type { Fetch, FetchAnswer } from '../../client/ports.ts';
import type { HostIdentity } from '../../core/nouns.ts';
import { HostConnections } from '../../tls/host-connections.ts';

export interface HttpConnectionOptions {
  /** Certificates to trust beside the system's, PEM. */
  readonly ca?: string | undefined;
  /** Everything goes to this unix socket, whatever host a URL names. */
  readonly socketPath?: string | undefined;
}

export interface RequestTo extends http.RequestOptions {
  /** PEM that this server's certificate is verified with, instead of what the connection trusts. */
  readonly ca?: string | null | undefined;
  /** The host that must answer; null: whoever `ca` vouches for. */
  readonly ofHost?: HostIdentity | null | undefined;
}

/** Kept connections to servers, shared by API calls and transfers. */
export class HttpConnection implements Disposable {
  readonly #plain = new http.Agent({ keepAlive: true });
  readonly #tls: HostConnections;
  /** Of data listeners that are known by another authority. An agent's own options go before those of a request. */
  readonly #known = new Map<string, HostConnections>();

  readonly #socket: { readonly socketPath?: string };

  constructor({ ca, socketPath }: HttpConnectionOptions = {}) {
    this.#socket = socketPath === undefined ? {} : { socketPath };
    this.#tls = new HostConnections(ca === undefined ? {} : { ca });
  }

  request(url: string, { ca, ofHost, ...options }: RequestTo): http.ClientRequest {
    const request = url.startsWith('https:')
      ? https.request(url, { ...options, agent: this.#trusting(ca ?? undefined).to(ofHost) })
      : http.request(url, { ...options, ...this.#socket, agent: this.#plain });
    limitConnecting(request);
    return request;
  }

  /** `fetch` as the API client wants it, over these connections. */
  readonly fetch: Fetch = (url, init) =>
    new Promise<FetchAnswer>((resolve, reject) => {
      const { body, headers, method, signal } = init;
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
      const request = this.request(url, {
        method,
        headers: { ...headers, ...length },
        ...(signal === undefined ? {} : { signal }),
      });
      request.once('error', reject);
      request.once('response', (response) => {
        collect(response).then((bytes) => resolve(answerOf(response, bytes)), reject);
      });
      request.end(body);
    });

  [Symbol.dispose](): void {
    this.#plain.destroy();
    this.#tls[Symbol.dispose]();
    for (const known of this.#known.values()) known[Symbol.dispose]();
  }

  #trusting(ca: string | undefined): HostConnections {
    if (ca === undefined) return this.#tls;
    const known = this.#known.get(ca) ?? new HostConnections({ ca });
    this.#known.set(ca, known);
    return known;
  }
}

/** A data listener behind a router is not refused, only never reached. */
const CONNECT_MS = 10_000;

function limitConnecting(request: http.ClientRequest): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => request.destroy(new Error('no connection came about within 10 s')), CONNECT_MS);
    const done = () => clearTimeout(timer);
    socket.once('connect', done);
    request.once('close', done);
  });
}

/** The whole body of an answer; for small ones. */
export function collect(response: http.IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.once('end', () => resolve(Buffer.concat(chunks)));
    response.once('error', reject);
    response.once('close', () => reject(new Error('the connection closed in the middle of the answer')));
  });
}

function answerOf(response: http.IncomingMessage, bytes: Buffer): FetchAnswer {
  return {
    status: response.statusCode ?? 0,
    headers: { get: (name) => headerText(response.headers[name.toLowerCase()]) },
    text: () => Promise.resolve(bytes.toString('utf8')),
    arrayBuffer: () => Promise.resolve(new Uint8Array(bytes).buffer),
  };
}

export function headersOf(response: http.IncomingMessage): Readonly<Record<string, string>> {
  const pairs = Object.entries(response.headers).map(([name, value]) => [name, headerText(value) ?? ''] as const);
  return Object.fromEntries(pairs);
}

function headerText(value: string | readonly string[] | undefined): string | null {
  if (value === undefined) return null;
  return typeof value === 'string' ? value : value.join(', ');
}
