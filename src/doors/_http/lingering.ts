import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * How long and how much of a refused body is read and thrown away, so that the client sees the answer
 * and not a reset connection (RFC 9112 section 9.6).
 */
export interface LingerLimits {
  /** Without a byte for so long the client is given up. */
  readonly idleSeconds: number;
  readonly totalSeconds: number;
  readonly bytes: number;
}

export const usualLinger: LingerLimits = { idleSeconds: 5, totalSeconds: 30, bytes: 64 * 1024 * 1024 };

/** Bodies up to this length are read to their end and the connection is kept. */
const SMALL_BODY = 64 * 1024;

/**
 * A response class for `http.createServer`. When the answer begins while a body is still to come, it
 * says `connection: close`; afterwards the connection is closed for writing and what still arrives is
 * read and thrown away within `limits`. Without it node closes at once, the kernel resets, and the
 * client may lose the answer; or, on a kept connection, node reads a refused terabyte to its end.
 */
export function lingeringResponse(limits: LingerLimits): typeof ServerResponse {
  return class LingeringResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    override writeHead(statusCode: number, ...rest: readonly unknown[]): this {
      const socket = this.req.socket;
      if (socket !== null && bodyIsUnread(this.req)) {
        this.setHeader('connection', 'close');
        linger(this.req, socket, limits);
      }
      return Reflect.apply(super.writeHead, this, [statusCode, ...rest]);
    }
  };
}

/** True when this connection is only read out and takes no further request. */
export function isLingering(socket: Socket): boolean {
  return lingering.has(socket);
}

const lingering = new WeakSet<Socket>();

function bodyIsUnread(request: IncomingMessage): boolean {
  if (request.complete) return false;
  if (request.headers['transfer-encoding'] !== undefined) return true;
  return Number(request.headers['content-length'] ?? 0) > SMALL_BODY;
}

/** Node calls `destroySoon` when the last response of a connection has ended: that moment is ours. */
function linger(request: IncomingMessage, socket: Socket, limits: LingerLimits): void {
  if (lingering.has(socket)) return;
  lingering.add(socket);
  const destroySoon = socket.destroySoon.bind(socket);
  socket.destroySoon = () => {
    socket.destroySoon = destroySoon;
    if (request.complete || socket.destroyed) return destroySoon();
    socket.end();
    discard(request, socket, limits);
  };
}

function discard(request: IncomingMessage, socket: Socket, limits: LingerLimits): void {
  const first = socket.bytesRead;
  let seen = first;
  let idle = 0;
  let total = 0;
  const stop = () => {
    clearInterval(timer);
    socket.destroy();
  };
  const timer = setInterval(() => {
    idle = socket.bytesRead === seen ? idle + 1 : 0;
    seen = socket.bytesRead;
    total++;
    if (idle >= limits.idleSeconds || total >= limits.totalSeconds) stop();
  }, 1000);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
  request.removeAllListeners('data');
  request.removeAllListeners('readable');
  request.on('data', () => {
    if (socket.bytesRead - first > limits.bytes) stop();
  });
  request.on('error', () => stop());
  request.once('end', stop);
  request.resume();
}
