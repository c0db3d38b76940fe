import type { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { LentConnection } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { duplicate } from '../../native/duplicate.ts';

/** What node keeps in `socket._handle`: private, so it is looked at before it is used. */
interface Handle {
  readonly fd: number;
  reading: boolean;
  readStart: () => number;
  readonly readStop: () => number;
}

/** What node keeps in `socket.parser`: private too. Its callbacks are numbered properties. */
type Parser = Record<number, unknown>;

/**
 * Lends the plain socket below a message with a Content-Length: a request that came, or an answer. Node stops reading it, and its parser,
 * which counts the body, is told stand-ins for what the borrower took: so message, keep-alive,
 * pipelining, refusals and the server's own cleaning up go on as if node had read everything.
 * Undefined when this cannot be done; then nothing has changed.
 */
export function lendConnection(request: IncomingMessage): LentConnection | undefined {
  const { socket } = request;
  const handle = handleOf(socket);
  const tell = tellerOf(socket);
  if (handle === undefined || tell === undefined || !isUntouched(request)) return undefined;
  const copy = duplicate(handle.fd);
  if (copy === undefined) return undefined;
  const closed = new AbortController();
  const close = () => closed.abort();
  socket.once('close', close);
  const readOn = stopReading(socket, handle);
  const lead = readBuffered(request);
  let leadTaken = 0;
  return {
    fd: copy.fd,
    lead,
    closed: closed.signal,
    took: (bytes) => {
      // The parser has seen the lead itself.
      const seen = Math.min(lead.length - leadTaken, bytes);
      leadTaken += seen;
      tell(bytes - seen);
    },
    giveBack: () => {
      copy.close();
      socket.off('close', close);
      if (!socket.destroyed) {
        mustBeUnread(request);
        if (leadTaken < lead.length) request.unshift(lead.subarray(leadTaken));
      }
      readOn();
    },
    abandon: () => {
      copy.close();
      socket.off('close', close);
      socket.destroy();
    },
  };
}

function handleOf(socket: Socket): Handle | undefined {
  if (!(socket instanceof Socket) || 'encrypted' in socket || socket.destroyed) return undefined;
  // Set while answers of pipelined requests pile up; the parser must not be fed then.
  if (Reflect.get(socket, '_paused') === true) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  return isHandle(handle) && handle.fd >= 0 ? handle : undefined;
}

function isHandle(value: unknown): value is Handle {
  if (typeof value !== 'object' || value === null) return false;
  const has = (name: string, type: string) => typeof Reflect.get(value, name) === type;
  return (
    has('fd', 'number') && has('reading', 'boolean') && has('readStart', 'function') && has('readStop', 'function')
  );
}

/** Its length is known, nobody reads its body yet, and some of it is still to come. */
function isUntouched(request: IncomingMessage): boolean {
  if (request.headers['content-length'] === undefined || request.headers['transfer-encoding'] !== undefined)
    return false;
  return !request.complete && !request.destroyed && request.readableFlowing === null;
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

function readBuffered(request: IncomingMessage): Buffer {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk: unknown = request.read();
    if (!Buffer.isBuffer(chunk)) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
}

/** Bytes that node had read all the same would come at a wrong place. */
function mustBeUnread(request: IncomingMessage): void {
  if (request.readableLength === 0) return;
  request.socket.destroy();
  throw new HawserError(
    'internal',
    'The connection was read while it was lent, so it was closed. Send the range again.',
  );
}

/** Never touched, so it takes no memory. */
let standIn: Buffer | undefined;
const STAND_IN_BYTES = 4 * 1024 * 1024;

/**
 * Makes the parser count bytes of the body that others took, as node does when it reads a socket that
 * no parser consumes. The request hears nothing of them: its callback is away meanwhile, and then the
 * parser makes no Buffer either.
 */
function tellerOf(socket: Socket): ((bytes: number) => void) | undefined {
  const parser: unknown = Reflect.get(socket, 'parser');
  if (typeof parser !== 'object' || parser === null) return undefined;
  const slot: unknown = Reflect.get(parser.constructor, 'kOnBody');
  const callbacks = parser as Parser;
  if (typeof slot !== 'number' || typeof callbacks[slot] !== 'function') return undefined;
  return (bytes) => {
    standIn ??= Buffer.alloc(STAND_IN_BYTES);
    const onBody = callbacks[slot];
    callbacks[slot] = null;
    try {
      for (let left = bytes; left > 0 && !socket.destroyed; left -= STAND_IN_BYTES) {
        socket.emit('data', standIn.subarray(0, Math.min(left, STAND_IN_BYTES)));
      }
    } finally {
      callbacks[slot] = onBody;
    }
  };
}
