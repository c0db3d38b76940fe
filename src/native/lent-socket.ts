import { Socket } from 'node:net';
import { duplicate } from './duplicate.ts';

/** A socket that node does not read for a while. All that it had read has gone to who listens for `data`. */
export interface LentSocket {
  readonly fd: number;
  /** Address of the TLS session that it is read through; undefined: it is plain. */
  readonly tls?: bigint;
  /** Node reads on. */
  giveBack(): void;
  /** Instead, of one that was destroyed or will be: the descriptor is closed. */
  drop(): void;
}

/** What node keeps in `socket._handle`: private, so it is looked at before it is used. */
interface Handle {
  readonly fd: number;
  reading: boolean;
  readStart: () => number;
  readonly readStop: () => number;
}

/** Undefined when this cannot be done; then nothing has changed. */
export function lendSocket(socket: unknown): LentSocket | undefined {
  if (!(socket instanceof Socket) || 'encrypted' in socket || socket.destroyed) return undefined;
  // Set while answers of pipelined requests pile up; the parser must not be fed then.
  if (Reflect.get(socket, '_paused') === true) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  if (!isHandle(handle) || handle.fd < 0) return undefined;
  const copy = duplicate(handle.fd);
  if (copy === undefined) return undefined;
  const readOn = stopReading(socket, handle);
  // A client's socket may have read before it was paused, and keeps that.
  while (socket.readableLength > 0 && socket.read() !== null);
  return {
    fd: copy.fd,
    giveBack: () => {
      copy.close();
      readOn();
    },
    drop: () => copy.close(),
  };
}

function isHandle(value: unknown): value is Handle {
  if (typeof value !== 'object' || value === null) return false;
  const has = (name: string, type: string) => typeof Reflect.get(value, name) === type;
  return (
    has('fd', 'number') && has('reading', 'boolean') && has('readStart', 'function') && has('readStop', 'function')
  );
}

/** Whatever node's streams decide meanwhile, nothing is read before the returned function is called. */
function stopReading(socket: Socket, handle: Handle): () => void {
  socket.pause();
  handle.readStop();
  handle.reading = false;
  handle.readStart = () => 0;
  return () => {
    Reflect.deleteProperty(handle, 'readStart');
    if (socket.destroyed) return;
    // Through both states, so that the stream and the handle agree again.
    socket.pause();
    handle.reading = false;
    // A server starts its sockets when they are resumed. A client leaves it to the stream, which believes that it is
    // reading already.
    socket.once('resume', () => {
      if (handle.reading || socket.destroyed || socket.isPaused()) return;
      handle.reading = true;
      handle.readStart();
    });
    socket.resume();
  };
}

/** Private in node, so it is looked at before it is used. */
export function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
