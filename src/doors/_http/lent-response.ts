import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { LentOutput } from '../../core/bytes.ts';
import { duplicate } from '../../native/duplicate.ts';

/**
 * Lends the plain socket below an answer with a Content-Length. Node writes its head, waits while the borrower writes
 * the body, and is told the end of the answer as if the body had been empty: it does not count. Undefined when this
 * cannot be done; then nothing has changed, but that the head may be on its way.
 */
export function lendResponse(response: ServerResponse): LentOutput | undefined {
  const { socket } = response;
  const fd = descriptorOf(socket);
  if (socket === null || fd === undefined || !isPlain(response)) return undefined;
  // Of pipelined requests only the first one's answer has the connection.
  if (Reflect.get(socket, '_httpMessage') !== response) return undefined;
  response.flushHeaders();
  // What the kernel did not take at once node would write in the middle of the body.
  if (socket.writableLength > 0 || socket.writableCorked > 0) return undefined;
  const copy = duplicate(fd);
  if (copy === undefined) return undefined;
  const closed = new AbortController();
  const close = () => closed.abort();
  socket.once('close', close);
  const end = () => {
    copy.close();
    socket.off('close', close);
  };
  return {
    fd: copy.fd,
    closed: closed.signal,
    giveBack: end,
    abandon: () => {
      socket.destroy();
      end();
    },
  };
}

/** Private in node, so it is looked at before it is used. */
function descriptorOf(socket: Socket | null): number | undefined {
  if (!(socket instanceof Socket) || 'encrypted' in socket || socket.destroyed) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

function isPlain(response: ServerResponse): boolean {
  if (response.destroyed || response.writableEnded || response.chunkedEncoding) return false;
  return response.hasHeader('content-length') && !response.strictContentLength;
}
