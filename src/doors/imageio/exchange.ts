import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ByteSink, ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import type { DeviceTicket } from '../../service/host/ticket.ts';
import type { OpenSink } from '../../service/host/ticket-device.ts';
import { bodySource } from '../_http/body-source.ts';
import { responseSink } from '../_http/response-sink.ts';
import { parseJson, repr, toJson, type Value } from './python-words.ts';
import { badRequest, WireError } from './wire-error.ts';

/** One connection: which tickets it has used, and how long it may say nothing. */
export class Connection {
  readonly socket: Socket;
  readonly #tickets = new Set<DeviceTicket>();
  /** Until a ticket is shown. */
  idleMs = 60_000;
  /** Resolves when the request before has been answered: one after the other, also when they come at once. */
  turn: Promise<void> = Promise.resolve();
  /** Requests that wait for that. */
  waiting = 0;
  /** An answer has said so. */
  closing = false;

  constructor(socket: Socket, fault: (error: unknown) => void) {
    this.socket = socket;
    socket.once('close', () => this.leaveAll().catch(fault));
  }

  /** From now on `ticket` knows of this connection, and its patience counts. */
  uses(ticket: DeviceTicket): void {
    this.#tickets.add(ticket);
    this.idleMs = ticket.content.inactivityMs;
  }

  async leaveAll(): Promise<void> {
    const tickets = [...this.#tickets];
    this.#tickets.clear();
    await Promise.all(tickets.map((ticket) => ticket.leave(this)));
  }
}

/** Bodies that are read whole, JSON: far more than any ticket needs. */
const MOST_JSON = 1024 * 1024;

/** One request and its answer, in the manner of the wire: header names in lower case, errors as plain text. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly connection: Connection;
  readonly method: string;
  /** Percent-decoded. */
  readonly path: string;
  readonly #query: URLSearchParams;
  readonly #headers: Record<string, string>;
  readonly #short = new AbortController();
  #close = false;
  /** Of the body, so far. */
  #taken = 0;
  /** All of the body was. */
  #read = false;

  constructor(parts: {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly connection: Connection;
    readonly serverName: string;
    readonly now: Date;
  }) {
    const { request, response } = parts;
    this.request = request;
    this.response = response;
    this.connection = parts.connection;
    this.method = request.method ?? '';
    const [path = '', ...query] = (request.url ?? '').replace(/^https?:\/\/[^/]*/i, '').split('?');
    this.path = unquote(path);
    this.#query = new URLSearchParams(query.join('?'));
    this.#headers = { server: parts.serverName, date: parts.now.toUTCString() };
  }

  /** The last one counts. */
  query(name: string): string | undefined {
    return this.#query.getAll(name).at(-1);
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  setHeader(name: string, value: string): void {
    this.#headers[name] = value;
  }

  /** The connection ends with this answer. */
  closeAfter(): void {
    this.#close = true;
  }

  /** Undefined when there is none. Node has refused the malformed ones. */
  get contentLength(): bigint | undefined {
    const value = this.header('content-length');
    return value === undefined ? undefined : BigInt(value);
  }

  /** The whole body as JSON. Throws 400 that begins with `what` when it is none. */
  async json(what: string): Promise<Value> {
    if (this.header('transfer-encoding') !== undefined) {
      throw badRequest('Chunked transfer encoding is not supported, send Content-Length');
    }
    const bytes = await this.#wholeBody();
    if (bytes.length === 0) throw badRequest(`${what} Expecting value: line 1 column 1 (char 0)`);
    try {
      return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (error) {
      throw badRequest(`${what} ${error instanceof Error ? error.message : repr(String(error))}`);
    }
  }

  /** The body, given up when the client says nothing for as long as its connection may. */
  source(): ByteSource {
    // Its own patience is what our watch has, and longer than that.
    const source = bodySource(this.request, 2 * this.connection.idleMs);
    let heard: number | undefined;
    return {
      drain: async (take, signal) => {
        const watch = new IdleWatch(this.connection, heard);
        const counted = (chunk: Uint8Array) => {
          this.#taken += chunk.length;
          return watch.around(take(chunk));
        };
        const cut = new AbortController();
        const cutWhenRead = () => {
          if (watch.busy || this.request.readableLength > 0) return void setImmediate(cutWhenRead);
          cut.abort(this.#endsShort());
        };
        if (this.#short.signal.aborted) setImmediate(cutWhenRead);
        else this.#short.signal.addEventListener('abort', cutWhenRead, { once: true });
        try {
          await source.drain(counted, AbortSignal.any([signal, watch.signal, cut.signal]));
          this.#read = true;
        } finally {
          watch.end();
          this.#short.signal.removeEventListener('abort', cutWhenRead);
        }
      },
      lend: () => {
        const lent = source.lend?.();
        heard = performance.now();
        return (
          lent && {
            ...lent,
            // The borrower knows whose turn it is; what is left of the patience counts when it is back.
            patience: this.connection.idleMs / 2,
            took: (bytes) => {
              if (bytes > 0) heard = performance.now();
              this.#taken += bytes;
              lent.took(bytes);
            },
          }
        );
      },
    };
  }

  /** The client has said that nothing more comes, in the middle of the body. */
  endedShort(): void {
    this.#short.abort();
  }

  /** Begins an answer of `length` bytes (null: chunked) that come through the sink; `stop` cuts it. */
  begin(status: number, length: number | null, stop: AbortSignal): OpenSink {
    stop.throwIfAborted();
    // The connection is closed before anybody uses the buffers again that are on their way into it.
    stop.addEventListener('abort', () => this.cut(), { once: true });
    this.#writeHead(status, length === null ? {} : { 'content-length': String(length) });
    const { sink, signal } = responseSink(this.response);
    return { gone: signal, sink: patient(sink, this.connection) };
  }

  /** Ends an answer that was begun. */
  end(): Promise<void> {
    return new Promise((resolve) => {
      this.response.once('close', resolve);
      this.response.end(resolve);
    });
  }

  send(status: number, body: string | Buffer = ''): void {
    const bytes = Buffer.from(body);
    this.#writeHead(status, { 'content-length': String(bytes.length) });
    this.response.end(bytes);
  }

  sendJson(value: Value): void {
    this.setHeader('content-type', 'application/json');
    this.send(200, `${toJson(value)}\n`);
  }

  /** Headers of an answer whose body stays away: HEAD. */
  sendHead(status: number, length: bigint | number): void {
    this.#writeHead(status, { 'content-length': String(length) });
    this.response.end();
  }

  refuse(error: WireError): void {
    if (error.close || this.#hasUnreadBody()) this.closeAfter();
    for (const [name, value] of Object.entries(error.headers)) this.setHeader(name, value);
    this.setHeader('content-type', 'text/plain; charset=UTF-8');
    this.send(error.status, `${error.message}\n`);
  }

  /** After the answer has begun, only this tells the client that something went wrong. */
  cut(): void {
    this.connection.socket.destroy();
  }

  #writeHead(status: number, headers: Readonly<Record<string, string>>): void {
    const { response } = this;
    response.sendDate = false;
    for (const [name, value] of Object.entries({ ...this.#headers, ...headers })) response.setHeader(name, value);
    // No "keep-alive" either: in HTTP/1.1 it goes without saying.
    if (this.#close) {
      this.connection.closing = true;
      response.setHeader('connection', 'close');
    } else response.removeHeader('connection');
    response.writeHead(status);
  }

  #endsShort(): HawserError {
    return new HawserError('incomplete', `Requested ${this.contentLength ?? 0} bytes, available ${this.#taken} bytes`);
  }

  #hasUnreadBody(): boolean {
    if (this.#read) return false;
    return this.header('transfer-encoding') !== undefined || (this.contentLength ?? 0n) > 0n;
  }

  async #wholeBody(): Promise<Buffer> {
    const length = this.contentLength ?? 0n;
    if (length > BigInt(MOST_JSON)) throw new WireError(413, `Request body too large: ${length} > ${MOST_JSON}`);
    const chunks: Buffer[] = [];
    const take = (chunk: Uint8Array) => {
      chunks.push(Buffer.from(chunk));
      return undefined;
    };
    await this.source().drain(take, new AbortController().signal);
    return Buffer.concat(chunks);
  }
}

/** Notices that the client of a connection has not done its part for too long, while it was its turn. */
class IdleWatch {
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #busy = false;
  #since: number;

  /** The client was heard last at `since`. */
  constructor({ idleMs, socket }: Connection, since = performance.now()) {
    this.#since = since;
    this.#timer = setInterval(
      () => {
        if (this.#busy || performance.now() - this.#since < idleMs) return;
        this.#stop.abort(new HawserError('connection-lost', 'The client moved nothing for too long.'));
        socket.destroy();
      },
      Math.max(100, Math.min(10_000, idleMs / 8)),
    ).unref();
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get busy(): boolean {
    return this.#busy;
  }

  /** It is our turn while `work` lasts. */
  around(work: Promise<void> | undefined): Promise<void> | undefined {
    this.#since = performance.now();
    if (work === undefined) return undefined;
    this.#busy = true;
    return work.finally(() => {
      this.#busy = false;
      this.#since = performance.now();
    });
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

/** A client that takes nothing for too long loses its connection. */
function patient(sink: ByteSink, connection: Connection): ByteSink {
  return {
    lend: () => {
      const lent = sink.lend?.();
      return lent && { ...lent, patience: connection.idleMs };
    },
    async write(chunk) {
      const timer = setTimeout(() => connection.socket.destroy(), Math.min(connection.idleMs, 2 ** 31 - 1));
      try {
        await sink.write(chunk);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** As Python's `unquote`: what is not UTF-8 becomes U+FFFD, what is no escape stays. */
function unquote(path: string): string {
  const bytes = path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
