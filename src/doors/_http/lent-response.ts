import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { LentOutput } from '../../core/bytes.ts';
import { duplicate } from '../../native/duplicate.ts';
import { descriptorOf, type LentSocket } from '../../native/lent-socket.ts';
import { OwnTls } from '../../native/own-tls.ts';

/**
 * Lends the socket below an answer with a Content-Length, a plain one or one whose TLS can be lent. Node writes its head,
 * waits while the borrower writes the body, and is told the end of the answer as if the body had been empty: it does
 * not count. Undefined when this cannot be done; then nothing has changed, but that the head may be on its way.
 */
export function lendResponse(response: ServerResponse): LentOutput | undefined {
  const socket: Duplex | null = response.socket;
  if (socket === null || !isPlain(response)) return undefined;
  // Of pipelined requests only the first one's answer has the connection.
  if (Reflect.get(socket, '_httpMessage') !== response) return undefined;
  response.flushHeaders();
  const below = socket instanceof OwnTls ? socket.lendOutput() : lendPlain(socket);
  if (below === undefined) return undefined;
  const closed = new AbortController();
  const close = () => closed.abort();
  socket.once('close', close);
  return {
    fd: below.fd,
    tls: below.tls,
    closed: closed.signal,
    giveBack: () => {
      socket.off('close', close);
      below.giveBack();
    },
    abandon: () => {
      socket.destroy();
      socket.off('close', close);
      below.drop();
    },
  };
}

function lendPlain(socket: Duplex): LentSocket | undefined {
  if (!(socket instanceof Socket) || 'encrypted' in socket || socket.destroyed) return undefined;
  const fd = descriptorOf(socket);
  // What the kernel did not take at once node would write in the middle of the body.
  if (fd === undefined || socket.writableLength > 0 || socket.writableCorked > 0) return undefined;
  const copy = duplicate(fd);
  return copy && { fd: copy.fd, giveBack: copy.close, drop: copy.close };
}

function isPlain(response: ServerResponse): boolean {
  if (response.destroyed || response.writableEnded || response.chunkedEncoding) return false;
  return response.hasHeader('content-length') && !response.strictContentLength;
}
