import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { TLSSocket } from 'node:tls';
import { z } from 'zod';
import { extentList } from '../../contract/api/image.ts';
import type { ByteSource, LentConnection } from '../../core/bytes.ts';
import { HawserError, isErrorCode } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { DistantCopy, ExtentPage, OpenPeer, PeerAddress } from '../../service/host/ports.ts';
import { optionsForHost } from '../../tls/host-connections.ts';
import { responseSource } from '../_http/response-source.ts';
import { type ConnectPinned, PinnedConnections } from './pinned-connections.ts';

/** A connection that brings no byte for so long is given up. */
const STALL_MS = 30_000;
/** Of an answer that is read whole: the extents of 10 000 runs, the leaves of 64 GiB. */
const MOST_READ = 4 * 1024 * 1024;

/** A round trip that takes longer is worth more requests at once; nearby they only stand in each other's way. */
const FAR_MS = 5;
const LANES = { near: 2, far: 6 } as const;

export interface PeerSettings {
  /** Told of bytes that passed in Buffers which are garbage by now. */
  readonly passed: (bytes: number) => void;
  /** Lends the connection below an answer, where that can be done. */
  readonly lend?: (response: IncomingMessage) => LentConnection | undefined;
  /** Makes connections whose TLS can be lent too. They are for data, once another connection has verified the certificate. */
  readonly connectPinned?: ConnectPinned | undefined;
  readonly stallMs?: number;
}

/** Copies at other agents, over the routes of their data listeners (docs/doors/api.md). */
export function openPeers(settings: PeerSettings): OpenPeer {
  return (address) => new PeerCopy(address, settings);
}

class PeerCopy implements DistantCopy {
  readonly #url: string;
  readonly #ticket: string;
  readonly #agent: http.Agent;
  /** For data, once the certificate is verified. */
  #pinned: PinnedConnections | undefined;
  readonly #settings: PeerSettings;
  readonly #stallMs: number;
  #etag: string | undefined;
  /** The shortest that a connection took to be made, milliseconds. */
  #roundTrip = Number.POSITIVE_INFINITY;

  constructor({ url, ticket, ca, host }: PeerAddress, settings: PeerSettings) {
    this.#url = url.replace(/\/+$/, '');
    this.#ticket = ticket;
    this.#agent = url.startsWith('https:')
      ? new https.Agent({ keepAlive: true, ...(ca === null ? {} : { ca }), ...optionsForHost(host) })
      : new http.Agent({ keepAlive: true });
    this.#settings = settings;
    this.#stallMs = settings.stallMs ?? STALL_MS;
  }

  get lanes(): number {
    return this.#roundTrip < FAR_MS ? LANES.near : LANES.far;
  }

  async extents(from: number, signal: AbortSignal): Promise<ExtentPage> {
    const response = await this.#get(`/extents?from=${from}`, {}, signal);
    const page = extentList.safeParse(parseJson((await this.#whole(response, signal)).toString()));
    if (page.success) return page.data;
    throw new HawserError('unsupported', 'The source told its extents in a form that is not known here.');
  }

  async leaves(first: number, count: number, signal: AbortSignal): Promise<Uint8Array> {
    return this.#whole(await this.#get(`/leaves?first=${first}&count=${count}`, {}, signal), signal);
  }

  async data(range: Range, signal: AbortSignal): Promise<ByteSource> {
    const wanted = `bytes ${range.offset}-${rangeEnd(range) - 1}/`;
    const response = await this.#get('/data', { range: `bytes=${range.offset}-${rangeEnd(range) - 1}` }, signal);
    const { etag, 'content-range': sent } = response.headers;
    this.#etag ??= etag;
    const refusal =
      etag !== this.#etag
        ? new HawserError(
            'source-changed',
            'The source is another object than before. Fetch from a copy that is ready.',
          )
        : response.statusCode === 206 && sent?.startsWith(wanted) === true
          ? undefined
          : new HawserError(
              'unsupported',
              `The source was asked for "${wanted}…" and answered "${sent ?? response.statusCode}".`,
            );
    if (refusal !== undefined) {
      response.destroy();
      throw refusal;
    }
    return responseSource(response, { ...this.#settings, length: range.length, stallMs: this.#stallMs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unpin();
    this.#agent.destroy();
  }

  async #get(path: string, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await this.#send(path, { ...headers, authorization: `Bearer ${this.#ticket}` }, signal);
    const { statusCode = 0 } = response;
    if (statusCode === 200 || statusCode === 206) return response;
    throw refusalOf(statusCode, parseJson((await this.#whole(response, signal)).toString()));
  }

  #send(path: string, headers: http.OutgoingHttpHeaders, signal: AbortSignal): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const protocol = this.#url.startsWith('https:') ? https : http;
    const pinned = headers.range === undefined ? undefined : this.#pinned;
    const request = protocol.get(`${this.#url}${path}`, { agent: pinned ?? this.#agent, headers, signal });
    const silent = setTimeout(() => request.destroy(away(undefined)), this.#stallMs).unref();
    const began = performance.now();
    request.on('socket', (socket) => {
      if (!socket.connecting) return;
      socket.once('connect', () => {
        this.#roundTrip = Math.min(this.#roundTrip, performance.now() - began);
      });
    });
    let answered = false;
    request.on('response', (response) => {
      answered = true;
      this.#pin(response.socket);
      resolve(response);
    });
    request.on('error', (cause) => {
      if (!answered && pinned !== undefined && pinned === this.#pinned) this.#lookAgain();
      reject(signal.aborted ? signal.reason : away(cause));
    });
    return promise.finally(() => clearTimeout(silent));
  }

  #pin(socket: unknown): void {
    const { connectPinned } = this.#settings;
    if (this.#pinned !== undefined || connectPinned === undefined || !(socket instanceof TLSSocket)) return;
    const certificate = socket.authorized ? socket.getPeerX509Certificate()?.raw : undefined;
    if (certificate !== undefined) this.#pinned = new PinnedConnections(connectPinned, certificate);
  }

  /** It may have another certificate now: the next request makes a connection and verifies it. */
  #lookAgain(): void {
    this.#unpin();
    for (const socket of Object.values(this.#agent.freeSockets).flat()) socket?.destroy();
  }

  #unpin(): void {
    this.#pinned?.destroy();
    this.#pinned = undefined;
  }

  async #whole(response: IncomingMessage, signal: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const source = responseSource(response, { length: null, stallMs: this.#stallMs, passed: () => {} });
    await source.drain((chunk) => {
      bytes += chunk.length;
      if (bytes > MOST_READ) throw new HawserError('unsupported', 'The source answers with far more than was asked.');
      chunks.push(Buffer.from(chunk));
      return undefined;
    }, signal);
    return Buffer.concat(chunks);
  }
}

const problemBody = z.object({ code: z.string(), detail: z.string().optional() });

function refusalOf(status: number, body: unknown): HawserError {
  const problem = problemBody.safeParse(body);
  const said = problem.success && problem.data.detail !== undefined ? `: ${problem.data.detail}` : '.';
  if (status === 401) {
    return new HawserError(
      'unavailable',
      'The agent that has the source does not know the ticket any more; it is asked for again.',
      { details: { final: true } },
    );
  }
  const code = problem.success && isErrorCode(problem.data.code) ? problem.data.code : undefined;
  if (status === 403) return new HawserError('forbidden', `The agent that has the source refuses it${said}`);
  if (status === 404) return new HawserError('not-found', `The agent that has the source does not find it${said}`);
  if (status === 416) return new HawserError('source-changed', 'The source is shorter than was expected.');
  if (code === 'corrupt') return new HawserError('corrupt', `The source is damaged${said}`);
  if (status === 429 || status >= 500)
    return new HawserError('unavailable', `The agent that has the source answered ${status}${said}`);
  return new HawserError('unsupported', `The agent that has the source answered ${status}${said}`);
}

function away(cause: unknown): HawserError {
  if (cause instanceof HawserError) return cause;
  return new HawserError('unavailable', 'The agent that has the source does not answer.', { cause });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
