import { type ClientRequest, request as httpRequest, type IncomingMessage, Agent as PlainAgent } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { HostIdentity } from '../../core/nouns.ts';
import { passedInBuffers } from '../../native/young-garbage.ts';
import { HostConnections } from '../../tls/host-connections.ts';
import { expectsContinue, securityHeaders } from './server.ts';

/** Where a request is passed on to. */
export interface RelayTarget {
  /** The whole URL, query included. */
  readonly url: string;
  /** Put on the request, over what came. What says who the client is (authorization, cookie) is never passed on. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** PEM: whom the certificate there is verified with, and the one that we show. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Who must answer there; null: whoever `ca` vouches for. */
  readonly host?: HostIdentity | null | undefined;
  /** Put on an answer that is a success, over what came. */
  readonly answerHeaders?: Readonly<Record<string, string>> | undefined;
}

export interface RelayRequest extends RelayTarget {
  /** Another target (or ticket), when this one is not there or answers with 401, before any of the body was taken. */
  readonly renewed?: (() => Promise<RelayTarget>) | undefined;
}

/**
 * The second ending of a data door: passes the request on to the agent that owns the bytes, and its answer
 * back, statuses and problems unchanged, byte for byte, as they come and no faster than the other side
 * takes them. `Expect: 100-continue` is the client's and the agent's matter: a refusal comes before the
 * body. No time limit ends a slow body. When either side goes, the other is let go. Resolves when all is
 * done; throws `unavailable` or `connection-lost` when no answer came.
 *
 * For a hook or a route whose body nobody else reads.
 */
export async function relay(request: FastifyRequest, reply: FastifyReply, target: RelayRequest): Promise<FastifyReply> {
  const { exchange, answerHeaders } = await answered(request, reply, target);
  await passBack(request, reply, exchange, answerHeaders);
  return reply;
}

/** An answer, from another target when this one is gone or knows our ticket no more, and the client has lost nothing by that. */
async function answered(
  request: FastifyRequest,
  reply: FastifyReply,
  target: RelayRequest,
): Promise<{ readonly exchange: Exchange; readonly answerHeaders: RelayTarget['answerHeaders'] }> {
  const { renewed } = target;
  try {
    const exchange = await begin(request, reply, target);
    if (exchange.answer.statusCode !== 401 || renewed === undefined) {
      return { exchange, answerHeaders: target.answerHeaders };
    }
    exchange.drop();
    if (exchange.bodyTaken()) {
      throw new HawserError('connection-lost', 'The host has just been restarted; send this again.');
    }
  } catch (error) {
    // Only before anything of the body was taken is it `unavailable`.
    if (renewed === undefined || !isHawserError(error, 'unavailable') || request.raw.destroyed) throw error;
  }
  const again = await renewed();
  return { exchange: await begin(request, reply, again), answerHeaders: again.answerHeaders };
}

interface Exchange {
  readonly answer: IncomingMessage;
  /** Whether any of the client's body was read. */
  bodyTaken(): boolean;
  /** Stops sending; what the client still sends is for whoever answers it. */
  stopBody(): void;
  /** Ends the connection to the target when it cannot be used again. */
  drop(): void;
}

const plain = new PlainAgent({ keepAlive: true });
const tls = new HostConnections();
const CONNECT_MS = 10_000;

/** Sends the request; resolves with the head of the answer, which may come in the middle of the body. */
function begin(request: FastifyRequest, reply: FastifyReply, target: RelayTarget): Promise<Exchange> {
  const { raw } = request;
  const { ca, cert, key } = target;
  const options = { method: request.method, headers: requestHeaders(request, target) };
  const upstream = target.url.startsWith('https:')
    ? httpsRequest(target.url, { ...options, agent: tls.to(target.host), ca, cert, key })
    : httpRequest(target.url, { ...options, agent: plain });
  const body = hasBody(raw) ? bodyPump(raw, upstream) : undefined;
  const gone = () => {
    if (!reply.raw.writableFinished) upstream.destroy();
  };
  reply.raw.once('close', gone);
  const asks = body !== undefined && expectsContinue(request);
  if (asks) {
    upstream.once('continue', () => {
      if (expectsContinue(request)) reply.raw.writeContinue();
      body.start();
    });
    upstream.flushHeaders();
  }
  whenConnected(upstream, () => {
    if (body === undefined) upstream.end();
    else if (!asks) body.start();
  });
  return new Promise((resolve, reject) => {
    upstream.once('response', (answer) => {
      resolve({
        answer,
        bodyTaken: () => body?.taken() ?? false,
        stopBody: () => body?.stop(),
        drop: () => {
          body?.stop();
          reply.raw.off('close', gone);
          if (upstream.writableFinished) answer.resume();
          else upstream.destroy();
        },
      });
    });
    upstream.on('error', (cause) => {
      body?.stop();
      reject(lost(cause, body?.taken() ?? false));
    });
  });
}

/** The connection exists: before that nothing of the body is taken, so that a refusal costs the client nothing. */
function whenConnected(upstream: ClientRequest, ready: () => void): void {
  upstream.once('socket', (socket) => {
    if (!socket.connecting && upstream.reusedSocket) return ready();
    const late = setTimeout(() => {
      upstream.destroy(new HawserError('unavailable', 'The host that keeps these bytes does not answer.'));
    }, CONNECT_MS);
    upstream.once('close', () => clearTimeout(late));
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
      clearTimeout(late);
      ready();
    });
  });
}

interface BodyPump {
  start(): void;
  stop(): void;
  taken(): boolean;
}

/** The client's body to the target, held back while that is busy. */
function bodyPump(raw: IncomingMessage, upstream: ClientRequest): BodyPump {
  let begun = false;
  const onData = (chunk: Buffer) => {
    passedInBuffers(chunk.length);
    if (upstream.write(chunk)) return;
    raw.pause();
    upstream.once('drain', () => raw.resume());
  };
  const onEnd = () => void upstream.end();
  const onClose = () => {
    if (!raw.complete) upstream.destroy();
  };
  return {
    start: () => {
      begun = true;
      if (raw.readableEnded) return onEnd();
      raw.on('data', onData).once('end', onEnd).once('close', onClose).on('error', onClose);
    },
    stop: () => {
      raw.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    },
    taken: () => begun,
  };
}

/** The answer to the client. When it breaks in the middle the connection is cut: its status is gone already. */
function passBack(
  { raw }: FastifyRequest,
  reply: FastifyReply,
  exchange: Exchange,
  more: RelayTarget['answerHeaders'],
): Promise<void> {
  const { answer } = exchange;
  const response = reply.raw;
  const status = answer.statusCode ?? 502;
  reply.hijack();
  exchange.stopBody();
  response.writeHead(status, { ...passedBack(answer.headers), ...(status < 300 ? more : {}) });
  // A short rest of a refused body is read out, so that the connection can be kept; a long one lingers (see lingering.ts).
  if (!raw.readableEnded) raw.resume();
  return new Promise((resolve) => {
    answer.on('data', (chunk: Buffer) => {
      passedInBuffers(chunk.length);
      if (response.write(chunk)) return;
      answer.pause();
      response.once('drain', () => answer.resume());
    });
    answer.once('end', () => response.end());
    answer.once('close', () => {
      if (!answer.complete) response.destroy();
      exchange.drop();
      resolve();
    });
    answer.on('error', () => response.destroy());
  });
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Of one connection only (RFC 9110 7.6.1), or of the client's standing with us. */
const ownHeaders = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'upgrade',
  'host',
  'authorization',
  'cookie',
  'set-cookie',
]);

type Headers = Record<string, string | string[]>;

function passed(headers: IncomingMessage['headers']): Headers {
  const named = String(headers.connection ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim());
  const kept: Headers = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !ownHeaders.has(name) && !named.includes(name)) kept[name] = value;
  }
  return kept;
}

/** What comes from a host is bytes: whatever it calls them, they are no page of ours and run no script here. */
function passedBack(headers: IncomingMessage['headers']): Headers {
  const kept = passed(headers);
  for (const name of Object.keys(securityHeaders)) delete kept[name];
  return { ...kept, 'content-security-policy': "default-src 'none'; sandbox" };
}

function requestHeaders(request: FastifyRequest, { headers }: RelayTarget): Headers {
  const kept = passed(request.raw.headers);
  // Whoever has had its 100 Continue does not ask again.
  if (!expectsContinue(request)) delete kept.expect;
  return { ...kept, 'x-request-id': request.id, ...headers };
}

function lost(cause: Error, bodyTaken: boolean): HawserError {
  if (cause instanceof HawserError) return cause;
  return bodyTaken
    ? new HawserError(
        'connection-lost',
        'The host that receives these bytes broke off. What it acknowledged is kept; ask for the received ranges and send the rest.',
        { cause },
      )
    : new HawserError('unavailable', 'The host that keeps these bytes does not answer; try again when it is back.', {
        cause,
      });
}
