import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { LentConnection } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { lendSocket } from '../../native/lent-socket.ts';
import { OwnTls } from '../../native/own-tls.ts';

/** What node keeps in `socket.parser`: private, so it is looked at before it is used. Its callbacks are numbered properties. */
type Parser = Record<number, unknown>;

/**
 * Lends the socket below a message with a Content-Length: a request that came, or an answer; a plain one, or one whose
 * TLS can be lent. Node stops reading it, and its parser, which counts the body, is told stand-ins for what the
 * borrower took: so message, keep-alive, pipelining, refusals and the server's own cleaning up go on as if node
 * had read everything. Undefined when this cannot be done; then nothing has changed.
 */
export function lendConnection(message: IncomingMessage): LentConnection | undefined {
  const socket: Duplex = message.socket;
  const tell = tellerOf(socket);
  if (tell === undefined || !isUntouched(message)) return undefined;
  const below = socket instanceof OwnTls ? socket.lend() : lendSocket(socket);
  if (below === undefined) return undefined;
  // What had been read already may have been all.
  if (!isUntouched(message)) {
    below.giveBack();
    return undefined;
  }
  const closed = new AbortController();
  const close = () => closed.abort();
  socket.once('close', close);
  const lead = readBuffered(message);
  let leadTaken = 0;
  return {
    fd: below.fd,
    tls: below.tls,
    lead,
    closed: closed.signal,
    took: (bytes) => {
      // The parser has seen the lead itself.
      const seen = Math.min(lead.length - leadTaken, bytes);
      leadTaken += seen;
      tell(bytes - seen);
    },
    giveBack: () => {
      socket.off('close', close);
      if (!socket.destroyed && message.readableLength > 0) {
        socket.destroy();
        below.drop();
        throw wasRead();
      }
      if (!socket.destroyed && leadTaken < lead.length) message.unshift(lead.subarray(leadTaken));
      below.giveBack();
    },
    abandon: () => {
      socket.off('close', close);
      socket.destroy();
      below.drop();
    },
  };
}

/** Its length is known, nobody reads its body yet, and some of it is still to come. */
function isUntouched(message: IncomingMessage): boolean {
  if (message.headers['content-length'] === undefined || message.headers['transfer-encoding'] !== undefined)
    return false;
  return !message.complete && !message.destroyed && message.readableFlowing === null;
}

function readBuffered(message: IncomingMessage): Buffer {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk: unknown = message.read();
    if (!Buffer.isBuffer(chunk)) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
}

/** Bytes that node had read all the same would come at a wrong place. */
function wasRead(): HawserError {
  return new HawserError(
    'internal',
    'The connection was read while it was lent, so it was closed. Send the range again.',
  );
}

/** Never touched, so it takes no memory. */
let standIn: Buffer | undefined;
const STAND_IN_BYTES = 4 * 1024 * 1024;

/**
 * Makes the parser count bytes of the body that others took, as node does when it reads a socket that
 * no parser consumes. The message hears nothing of them: its callback is away meanwhile, and then the
 * parser makes no Buffer either.
 */
function tellerOf(socket: Duplex): ((bytes: number) => void) | undefined {
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
