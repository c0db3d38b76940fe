import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import { type HawserError, isHawserError } from '../../core/errors.ts';
import { createLingering, type LingerLimits, usualLinger } from '../_http/lingering.ts';
import { createSecureServer } from '../_http/secure-server.ts';
import { Connection, Exchange } from './exchange.ts';
import { repr } from './python-words.ts';
import { refusalOf } from './refusals.ts';
import { WireError } from './wire-error.ts';

export type Handler = (exchange: Exchange) => Promise<void>;

export interface ListenerSettings {
  readonly handle: Handler;
  /** PEM. Without it plain HTTP. With `clientCa` a client without a certificate of that authority is turned away. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly clientCa?: string | undefined } | undefined;
  /** What the `server` header says. */
  readonly serverName: string;
  readonly now: () => Date;
  /** Told of what we did wrong; never with a ticket's id. */
  readonly fault: (fields: Readonly<Record<string, unknown>>) => void;
  readonly answered?: ((method: string, status: number) => void) | undefined;
  readonly linger?: LingerLimits | undefined;
}

export interface Listener {
  readonly server: Server;
  /** Ends every connection at once; what runs on them must have been ended before. */
  close(): Promise<void>;
}

/** Longest request line that is read, bytes. */
const MOST_REQUEST_LINE = 4096;
/** Requests of one connection that may wait for the one before; no client sends that many at once. */
const MOST_WAITING = 100;
const methods = new Set(['GET', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'HEAD']);

/** An HTTP/1.1 server as clients of the wire expect it; not listening yet. */
export function createListener(settings: ListenerSettings): Listener {
  const lingering = createLingering({ ...(settings.linger ?? usualLinger), smallBody: 0 });
  const options = {
    ServerResponse: lingering.response,
    requestTimeout: 0,
    headersTimeout: 60_000,
    // 0: the connection's own patience counts instead.
    keepAliveTimeout: 0,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    noDelay: true,
    insecureHTTPParser: false,
  };
  const { tls } = settings;
  const server = createServer(options, tls);
  server.setTimeout(0);
  const serving = new Serving(settings);
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    if (!lingering.has(request.socket)) void serving.serve(request, response);
  };
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => serving.connected(socket));
  server.on('request', serve);
  server.on('checkExpectation', serve);
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    refuseRaw(socket, new WireError(405, `Invalid method ${repr(request.method)}`), settings.serverName);
  });
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Socket) => {
    serving.malformed(error, socket);
  });
  return {
    server,
    close: () =>
      new Promise((resolve) => {
        lingering.end();
        server.close(() => resolve());
        serving.end();
      }),
  };
}

function createServer(options: ServerOptions, tls: ListenerSettings['tls']): Server {
  if (tls === undefined) return createHttpServer(options);
  const { key, cert, clientCa } = tls;
  if (clientCa === undefined) return createSecureServer(options, { key, cert });
  const mutual = { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  return createHttpsServer({ ...options, key, cert, minVersion: 'TLSv1.2', ...mutual });
}

class Serving {
  readonly #settings: ListenerSettings;
  readonly #connections = new Map<Socket, Connection>();
  readonly #current = new Map<Socket, Exchange>();

  constructor(settings: ListenerSettings) {
    this.#settings = settings;
  }

  connected(socket: Socket): void {
    const connection = new Connection(socket, (error) => this.#fault(error));
    this.#connections.set(socket, connection);
    socket.setTimeout(connection.idleMs);
    socket.once('close', () => {
      this.#connections.delete(socket);
      this.#current.delete(socket);
    });
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    if (connection === undefined) return void socket.destroy();
    const { serverName, now } = this.#settings;
    request.on('error', () => {}); // seen by whoever reads the body
    if (++connection.waiting > MOST_WAITING) return void socket.destroy();
    const before = connection.turn;
    connection.turn = new Promise((resolve) => response.once('close', resolve));
    await before;
    connection.waiting--;
    if (connection.closing || socket.destroyed) return;
    const exchange = new Exchange({ request, response, connection, serverName, now: now() });
    this.#current.set(socket, exchange);
    socket.setTimeout(0); // while a request is served its own watches count
    response.once('finish', () => {
      if (this.#current.get(socket) === exchange) this.#current.delete(socket);
      if (!socket.destroyed) socket.setTimeout(Math.min(connection.idleMs, 2 ** 31 - 1));
      this.#settings.answered?.(exchange.method, response.statusCode);
    });
    try {
      mustBeShort(request);
      if (!methods.has(exchange.method)) throw new WireError(405, `Invalid method ${repr(exchange.method)}`);
      await this.#settings.handle(exchange);
    } catch (error) {
      this.#refuse(exchange, error);
    }
  }

  /** Bytes that are no HTTP request, or a body that its client has ended too early. */
  malformed(error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Socket): void {
    const current = this.#current.get(socket);
    if (error.code === 'HPE_INVALID_EOF_STATE' && current !== undefined && !current.response.headersSent) {
      current.closeAfter();
      current.endedShort();
      return;
    }
    if (error.code === 'ECONNRESET' || !socket.writable || current !== undefined) return void socket.destroy();
    refuseRaw(socket, refusalOfHead(error), this.#settings.serverName);
  }

  end(): void {
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #refuse(exchange: Exchange, error: unknown): void {
    const refusal = refusalOf(error);
    if (refusal === undefined || exchange.response.headersSent) exchange.cut();
    else exchange.refuse(refusal);
    if (!(error instanceof WireError) && (refusal?.status ?? 0) >= 500) this.#fault(error, exchange);
  }

  #fault(error: unknown, exchange?: Exchange): void {
    const cause: unknown = error instanceof Error ? error.cause : undefined;
    this.#settings.fault({
      event: 'imageio.fault',
      method: exchange?.method,
      code: isHawserError(error) ? (error satisfies HawserError).code : undefined,
      error: error instanceof Error ? error.message : String(error),
      cause: cause instanceof Error ? cause.message : undefined,
      stack: isHawserError(error) || !(error instanceof Error) ? undefined : error.stack,
    });
  }
}

function mustBeShort(request: IncomingMessage): void {
  const line = `${request.method} ${request.url} HTTP/1.1\r\n`;
  if (Buffer.byteLength(line) > MOST_REQUEST_LINE) throw new WireError(414, 'Request-URI Too Long', { close: true });
}

/** What node's parser would not take, as the original says it. */
function refusalOfHead(error: NodeJS.ErrnoException & { rawPacket?: Buffer }): WireError {
  const head = error.rawPacket?.toString('latin1') ?? '';
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new WireError(408, 'Request Timeout');
    case 'HPE_HEADER_OVERFLOW':
      return head.slice(0, MOST_REQUEST_LINE).includes('\n')
        ? new WireError(431, 'Request Header Fields Too Large')
        : new WireError(414, 'Request-URI Too Long');
    case 'HPE_INVALID_METHOD': {
      const method = /^([!-~]{1,100}) \S+ HTTP\/1\.[01]\r?\n/.exec(head)?.[1];
      if (method !== undefined) return new WireError(405, `Invalid method ${repr(method)}`);
      break;
    }
    case 'HPE_INVALID_CONTENT_LENGTH':
    case 'HPE_UNEXPECTED_CONTENT_LENGTH': {
      const value = /^content-length:[ \t]*([^\r\n]*?)[ \t]*\r?$/im.exec(head)?.[1] ?? '';
      if (/^-\d+$/.test(value)) return new WireError(400, `Negative Content-Length: ${BigInt(value)}`);
      return new WireError(400, `Invalid Content-Length: ${repr(value)}`);
    }
  }
  return new WireError(400, 'Bad request syntax');
}

/** There is no response object: written by hand, and the connection ends. */
function refuseRaw(socket: Socket, { status, message }: WireError, serverName: string): void {
  const body = `${message}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${reasons.get(status) ?? 'Error'}\r\nserver: ${serverName}\r\ncontent-type: text/plain; charset=UTF-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

const reasons: ReadonlyMap<number, string> = new Map([
  [400, 'Bad Request'],
  [405, 'Method Not Allowed'],
  [408, 'Request Timeout'],
  [414, 'URI Too Long'],
  [431, 'Request Header Fields Too Large'],
]);
