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
  /** Bodies up to this length are read to their end and the connection is kept; 64 KiB unless said otherwise. */
  readonly smallBody?: number | undefined;
}

export const usualLinger: LingerLimits = { idleSeconds: 5, totalSeconds: 30, bytes: 64 * 1024 * 1024 };

const SMALL_BODY = 64 * 1024;

export interface Lingering {
  /** For `http.createServer`. */
  readonly response: typeof ServerResponse;
  /** True when this connection is only read out and takes no further request. */
  has(socket: Socket): boolean;
  /** Ends all of them at once: the server closes. */
  end(): void;
}

/**
 * A response class that, when the answer begins while a body is still to come, says `connection: close`;
 * afterwards the connection is closed for writing and what still arrives is read and thrown away
 * within `limits`. Without it node closes at once, the kernel resets, and the client may lose the
 * answer; or, on a kept connection, node reads a refused terabyte to its end.
 */
export function createLingering(limits: LingerLimits): Lingering {
  const sockets = new Set<Socket>();
  class LingeringResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    override writeHead(statusCode: number, ...rest: readonly unknown[]): this {
      const socket = this.req.socket;
      if (socket !== null && bodyIsUnread(this.req, limits.smallBody ?? SMALL_BODY) && !sockets.has(socket)) {
        this.setHeader('connection', 'close');
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
        linger(this.req, socket, limits);
      }
      return Reflect.apply(super.writeHead, this, [statusCode, ...rest]);
    }
  }
  return {
    response: LingeringResponse,
    has: (socket) => sockets.has(socket),
    end: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function bodyIsUnread(request: IncomingMessage, small: number): boolean {
  if (request.complete) return false;
  if (request.headers['transfer-encoding'] !== undefined) return true;
  return Number(request.headers['content-length'] ?? 0) > small;
}

/**
 * Reading begins with the answer and not after it: once a response has ended, node drops the body of
 * an untouched request unseen and uncounted, without bound. When the response has ended node calls
 * `destroySoon`; then only our side is closed.
 */
function linger(request: IncomingMessage, socket: Socket, limits: LingerLimits): void {
  const destroySoon = socket.destroySoon.bind(socket);
  discard(request, socket, limits);
  socket.destroySoon = () => {
    if (request.complete || socket.destroyed) return destroySoon();
    request.once('end', () => socket.destroy());
    socket.end();
  };
}

function discard(request: IncomingMessage, socket: Socket, limits: LingerLimits): void {
  let taken = 0;
  let heard = 0;
  let idleSeconds = 0;
  let totalSeconds = 0;
  const timer = setInterval(() => {
    idleSeconds = taken === heard ? idleSeconds + 1 : 0;
    heard = taken;
    totalSeconds++;
    if (idleSeconds >= limits.idleSeconds || totalSeconds >= limits.totalSeconds) socket.destroy();
  }, 1000);
  timer.unref();
  socket.once('close', () => clearInterval(timer));
  request.removeAllListeners('data');
  request.removeAllListeners('readable');
  request.on('error', () => socket.destroy());
  request.on('data', (chunk: Uint8Array) => {
    taken += chunk.length;
    if (taken > limits.bytes) socket.destroy();
  });
  request.resume();
}
