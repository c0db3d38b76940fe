import { createServer as createHttpServer, type Server, type ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import { serializerCompiler } from 'fastify-type-provider-zod';
import { HawserError } from '../../core/errors.ts';
import { createLingering, type Lingering, type LingerLimits, usualLinger } from './lingering.ts';
import { MethodNotAllowed, missingRoute, noteRoutes } from './missing-route.ts';
import { PROBLEM_TYPE, problemOf } from './problem.ts';
import { createSecureServer } from './secure-server.ts';
import { zodValidator } from './validation.ts';

/** What roles hand around without knowing the framework. */
export type HttpServer = FastifyInstance;
export type HttpLog = FastifyBaseLogger;

export interface ServerSettings {
  readonly log: FastifyBaseLogger;
  /** PEM. Without it plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string } | undefined;
  /** Proxies whose X-Forwarded-* count: true for all, or addresses; default none. */
  readonly trustProxy?: boolean | string | readonly string[] | undefined;
  /** Makes request ids for clients that send none. */
  readonly randomId: () => string;
  readonly linger?: LingerLimits | undefined;
  readonly securityHeaders?: Readonly<Record<string, string>> | undefined;
}

/**
 * A Fastify instance as every listener of Hawser wants it: request ids in and out, one log line an
 * answer, problem+json for every error, zod validation, no limit on how long a body may take but one
 * on how long headers may, refusals before the body for `Expect: 100-continue`, lingering close.
 *
 * A client that asked for `100 Continue` gets it when a body parser begins to read. A route that
 * reads `request.raw` itself sets `config: {ownsBody: true}` and calls `reply.raw.writeContinue()`
 * (only when `expectsContinue(request)`). Nobody may destroy `request.raw`: that tears the connection
 * down before the answer is seen.
 */
export function createServer(settings: ServerSettings): FastifyInstance {
  const lingering = createLingering(settings.linger ?? usualLinger);
  const app: FastifyInstance = fastify({
    serverFactory: (handler) => createListener(settings.tls, lingering, handler),
    loggerInstance: settings.log,
    trustProxy: trustedProxies(settings.trustProxy),
    genReqId: (raw) => requestIdFrom(raw.headers['x-request-id']) ?? settings.randomId(),
    requestIdHeader: false,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: 4 * 1024 * 1024,
    routerOptions: { maxParamLength: 500 },
    frameworkErrors: (error, request, reply) => void answerProblem(error, request, reply),
    clientErrorHandler: refuseMalformed,
  });
  noteRoutes(app);
  const sockets = new Set<Socket>();
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  app.removeContentTypeParser('text/plain');
  app.setValidatorCompiler(zodValidator);
  app.setSerializerCompiler(serializerCompiler);
  const headers = { ...securityHeaders, ...settings.securityHeaders };
  app.addHook('onRequest', async (request, reply) => {
    // On the raw response, so that routes that write it themselves have them too.
    reply.raw.setHeader('x-request-id', request.id);
    for (const [name, value] of Object.entries(headers)) reply.raw.setHeader(name, value);
  });
  app.addHook('preParsing', async (request, reply) => {
    if (!routeSays(request, 'ownsBody') && expectsContinue(request)) reply.raw.writeContinue();
  });
  app.addHook('onResponse', async (request, reply) => logAnswer(request, reply));
  app.addHook('preClose', async () => {
    lingering.end();
    // What is being answered has a moment to end; a reader that stalls, or a WebSocket whose client does not
    // say goodbye, would hold the stop up.
    const cut = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, CLOSE_MS);
    app.server.once('close', () => clearTimeout(cut));
  });
  app.setErrorHandler((error, request, reply) => answerProblem(error, request, reply));
  app.setNotFoundHandler((request, reply) => answerProblem(missingRoute(request), request, reply));
  return app;
}

/** Fits the page (Mantine sets styles inline, hash-wasm compiles) and everything else we answer. */
export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'self'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

/** True when the client waits for `100 Continue` and has not got it yet. */
export function expectsContinue(request: FastifyRequest): boolean {
  return waiting.has(request.raw);
}

/** The thrown thing as problem+json, logged when it is our fault. */
export function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = fromFastify(error);
  const answer = problemOf(known.error, request.id, known.status);
  if (error instanceof MethodNotAllowed) void reply.header('allow', error.allow);
  if (answer.body.status >= 500) {
    request.log.error({ event: 'http.fault', code: answer.body.code, route: request.routeOptions?.url, err: error });
  }
  return reply
    .code(answer.body.status)
    .headers(answer.headers)
    .type(PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(answer.body);
}

/** How long answers may still take once the server closes. */
const CLOSE_MS = 2000;

const waiting = new WeakSet<object>();

/**
 * Bodies may take days (requestTimeout 0), headers a minute. The kernel's keepalive finds peers that
 * vanished without a word; an idle kept connection goes after 75 s, later than most proxies' 60 s, so
 * that they do not send into one that is closing.
 */
function createListener(tls: ServerSettings['tls'], lingering: Lingering, handler: (...args: never[]) => void): Server {
  const options: ServerOptions = {
    ServerResponse: lingering.response,
    requestTimeout: 0,
    headersTimeout: 60_000,
    keepAliveTimeout: 75_000,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    noDelay: true,
  };
  const server = tls === undefined ? createHttpServer(options) : createSecureServer(options, tls);
  server.setTimeout(0);
  const serve = (request: object, response: object) => {
    Reflect.apply(handler, undefined, [request, response]);
  };
  server.on('request', (request, response) => {
    if (lingering.has(request.socket)) return;
    serve(request, response);
  });
  server.on('checkContinue', (request, response) => {
    if (lingering.has(request.socket)) return;
    waiting.add(request);
    const writeContinue = response.writeContinue.bind(response);
    response.writeContinue = (callback?: () => void) => {
      waiting.delete(request);
      writeContinue(callback);
    };
    serve(request, response);
  });
  return server;
}

function trustedProxies(setting: ServerSettings['trustProxy']): boolean | string | string[] {
  if (setting === undefined) return false;
  return typeof setting === 'boolean' || typeof setting === 'string' ? setting : [...setting];
}

function requestIdFrom(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && /^[\w.:+/=-]{1,100}$/.test(header) ? header : undefined;
}

/** Reads a flag of the route's `config`: `ownsBody` (reads request.raw itself), `quiet` (logged at debug while it succeeds). */
function routeSays(request: FastifyRequest, flag: 'ownsBody' | 'quiet'): boolean {
  return Reflect.get(request.routeOptions.config, flag) === true;
}

function logAnswer(request: FastifyRequest, reply: FastifyReply): void {
  const quiet = routeSays(request, 'quiet') && reply.statusCode < 400;
  request.log[quiet ? 'debug' : 'info']({
    event: 'http.answer',
    method: request.method,
    path: request.url.replace(/\?.*$/s, ''),
    route: request.routeOptions.url,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
    address: request.ip,
  });
}

/** Fastify's own refusals in our words. A 4xx of a plugin keeps its status and its message. */
function fromFastify(error: unknown): { readonly error: unknown; readonly status?: number } {
  if (error instanceof MethodNotAllowed) return { error, status: 405 };
  if (error instanceof HawserError || !isFastifyError(error)) return { error };
  const status = error.statusCode ?? 500;
  const cause = { cause: error };
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return {
        error: new HawserError(
          'unsupported',
          'This route takes a JSON body: send content-type: application/json.',
          cause,
        ),
        status: 415,
      };
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return { error: new HawserError('bad-request', 'The content-type says JSON but the body is empty.', cause) };
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return { error: new HawserError('too-large', 'The JSON body is larger than the 4 MiB that are read.', cause) };
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return { error: new HawserError('bad-request', 'The body is not as long as content-length says.', cause) };
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return { error: new HawserError('bad-request', `The body is not JSON: ${error.message}`) };
  }
  if (error instanceof SyntaxError) {
    return { error: new HawserError('bad-request', `The body is not JSON: ${error.message}`) };
  }
  if (status >= 400 && status < 500) return { error: new HawserError('bad-request', `${error.message}.`), status };
  return { error };
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number';
}

/** Bytes that are no HTTP request, or headers that took too long: answered by hand, there is no request object. */
function refuseMalformed(this: FastifyInstance, error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const large = error.code === 'HPE_HEADER_OVERFLOW';
  const status = late ? '408 Request Timeout' : large ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const detail = late
    ? 'The headers took longer than 60 s.'
    : large
      ? 'The headers are larger than 16 KiB.'
      : 'These bytes are not an HTTP/1.1 request.';
  const answer = problemOf(new HawserError('bad-request', detail), '-', Number(status.slice(0, 3)));
  const body = JSON.stringify(answer.body);
  this.log.info({ event: 'http.malformed', reason: error.code });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
