import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { OpenListener } from '../../service/host/chunk-ports.ts';
import type { UploadServerWire } from '../../service/host/upload-server-wire.ts';
import { type CertificateHolder, holderOf } from '../../tls/host-check.ts';
import { createLingering, type Lingering, usualLinger } from '../_http/lingering.ts';
import { formFile } from './multipart.ts';
import { checksum, index, number } from './upload-server-query.ts';
import { statusOf } from './wire-errors.ts';

/** The paths of the original, all of them POST. */
export const UPLOAD_SERVER_BASE = '/v1-bi-upload';

export interface UploadServerTls {
  readonly key: string;
  readonly cert: string;
  /** PEM of the authority that signs who may connect. */
  readonly ca: string;
  /** Whether a certificate of that authority may connect. */
  readonly mayConnect: (holder: CertificateHolder) => boolean | Promise<boolean>;
}

export interface UploadServerSettings {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /**
   * Looked at for each connection, so that a renewed certificate is shown from then on. Undefined: plain HTTP, open to
   * everybody who reaches the port; never the one first and then the other.
   */
  readonly tls: () => UploadServerTls | undefined;
  readonly log: { warn(fields: Readonly<Record<string, unknown>>): void };
}

type Answer = { readonly json: unknown } | undefined;
interface Asked {
  readonly wire: UploadServerWire;
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  /** The body is wanted now: a client that waits for `100 Continue` is told. */
  readonly wantBody: () => void;
}
type Handle = (asked: Asked) => Promise<Answer>;

const routes: Readonly<Record<string, Handle>> = {
  start: async ({ wire, query }) => {
    await wire.start(number(query, 'size'));
    return undefined;
  },
  prepareChunk: async ({ wire, query }) => ({
    json: {
      exists: await wire.prepareChunk({
        index: index(query),
        size: number(query, 'size', 1),
        checksum: checksum(query.get('checksum')),
      }),
    },
  }),
  uploadChunk: async ({ wire, request, query, wantBody }) => {
    wantBody();
    const { fields, source } = await formFile(request);
    const given = new URLSearchParams([...query, ...fields]);
    const name = { index: index(given), checksum: checksum(given.get('checksum')) };
    await wire.uploadChunk(name, source, goneOf(request));
    return undefined;
  },
  coalesceChunk: async ({ wire, query }) => {
    await wire.coalesceChunk({ size: number(query, 'size'), count: number(query, 'count') });
    return undefined;
  },
  upload: async ({ wire, request, query, wantBody }) => {
    const size = number(query, 'size');
    await wire.start(size);
    wantBody();
    const { source } = await formFile(request);
    await wire.upload(size, source, goneOf(request));
    return undefined;
  },
  close: async ({ wire }) => {
    await wire.close();
    return undefined;
  },
};

/** Listens for one Upload. Throws `in-use` when the port is another program's. */
export async function openUploadServer(wire: UploadServerWire, settings: UploadServerSettings): Promise<OpenListener> {
  const lingering = createLingering(usualLinger);
  const server = listenerOf(settings.tls, lingering);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    if (!lingering.has(request.socket)) void answer(wire, settings, request, response);
  };
  server.on('request', serve);
  server.on('checkContinue', serve);
  const port = await listen(server, settings);
  return {
    port,
    async close() {
      lingering.end();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // What is being answered has a moment to end; a client that stalls does not hold the port.
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, CLOSE_MS);
      await closed;
      clearTimeout(cut);
    },
  };
}

/** How long answers may still take once the server closes. */
const CLOSE_MS = 2000;

function listenerOf(current: UploadServerSettings['tls'], lingering: Lingering): Server {
  const options: ServerOptions = {
    ServerResponse: lingering.response,
    requestTimeout: 0,
    headersTimeout: 60_000,
    keepAliveTimeout: 75_000,
    noDelay: true,
  };
  let tls = current();
  if (tls === undefined) return createServer(options);
  const { key, cert, ca } = tls;
  const server = createTlsServer({ ...options, key, cert, ca, requestCert: true, rejectUnauthorized: true });
  // Before the server's own listener, which begins TLS with what is set now.
  server.prependListener('connection', () => {
    const now = current();
    if (now === undefined || now.cert === tls?.cert) return;
    tls = now;
    server.setSecureContext({ key: now.key, cert: now.cert, ca: now.ca });
  });
  return server;
}

async function answer(
  wire: UploadServerWire,
  { tls, log }: UploadServerSettings,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await mustBeAllowed(request, tls());
    const { handle, query } = route(request);
    const wantBody = () => {
      if (/^100-continue$/i.test(request.headers.expect ?? '')) response.writeContinue();
    };
    const answered = await handle({ wire, request, query, wantBody });
    if (answered === undefined) response.writeHead(200).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answered.json));
  } catch (error) {
    const known = toHawserError(error);
    const status = statusOf(known.code);
    if (status >= 500) log.warn({ event: 'upload-server.fault', code: known.code, err: error });
    if (response.headersSent || response.destroyed) return;
    const text = known.code === 'internal' ? 'Something failed inside Hawser; the log says what.' : known.message;
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'x-hawser-code': known.code });
    response.end(`${text}\n`);
  }
}

function route(request: IncomingMessage): { readonly handle: Handle; readonly query: URLSearchParams } {
  const url = new URL(request.url ?? '/', 'http://upload-server');
  const name = url.pathname.startsWith(`${UPLOAD_SERVER_BASE}/`)
    ? url.pathname.slice(UPLOAD_SERVER_BASE.length + 1)
    : '';
  const handle = Object.hasOwn(routes, name) ? routes[name] : undefined;
  if (handle === undefined || request.method !== 'POST') {
    throw new HawserError(
      'not-found',
      `There is no ${request.method} ${url.pathname.slice(0, 100)} here; there are POST ${UPLOAD_SERVER_BASE}/ ${Object.keys(routes).join(', ')}.`,
    );
  }
  return { handle, query: url.searchParams };
}

/** Connections whose certificate was looked at: taking it apart costs more than a small request. */
const allowed = new WeakSet<TLSSocket>();

async function mustBeAllowed(request: IncomingMessage, tls: UploadServerTls | undefined): Promise<void> {
  if (tls === undefined) return;
  const socket = request.socket as TLSSocket;
  if (allowed.has(socket)) return;
  if (await tls.mayConnect(holderOf(socket.getPeerCertificate()))) return void allowed.add(socket);
  throw new HawserError(
    'forbidden',
    'This certificate is not one of control, nor of a host that may send here; only they speak to upload servers.',
  );
}

function goneOf(request: IncomingMessage): AbortSignal {
  const gone = new AbortController();
  request.once('close', () => {
    if (!request.complete) gone.abort(new HawserError('connection-lost', 'The client went away.'));
  });
  return gone.signal;
}

async function listen(server: Server, { host, port }: UploadServerSettings): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') return reject(cause);
      reject(new HawserError('in-use', `Port ${port} is another program's.`, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new HawserError('internal', 'The listener has no address.');
  return address.port;
}
