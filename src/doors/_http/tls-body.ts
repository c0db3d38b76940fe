import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';

export interface TlsBodyEvents {
  /** Valid until it returns; if the body was paused meanwhile, until it is resumed. */
  readonly data: (chunk: Uint8Array) => void;
  /** What is left of the body, if anything, is in the request: it is read as every other. Once, and not after `leave`. */
  readonly rest: () => void;
}

/** What node keeps in `socket._handle`: private, so it is looked at before it is used. */
interface Handle {
  reading: boolean;
  readStart: () => number;
  readStop: () => number;
  readonly useUserBuffer: (buffer: Uint8Array) => void;
}

/** What node keeps in `socket.parser`: private too. Its callbacks are numbered properties. */
interface Parser {
  readonly consume: (handle: object) => void;
  readonly unconsume: () => void;
  [slot: number]: unknown;
}

/** Keys below which a socket keeps what `onread` of net.connect asks for. */
interface Keys {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly next: symbol;
}

/** Private things of node below one request. */
interface Below {
  readonly request: IncomingMessage;
  readonly socket: TLSSocket;
  readonly handle: Handle;
  readonly parser: Parser;
  readonly onBody: number;
  readonly keys: Keys;
}

/** Shorter bodies are not worth it. */
const WORTH_READING = 1024 * 1024;
/** What node decrypts in one go: a record of TLS. */
const BUFFER_BYTES = 16 * 1024;
/** The parser counts the body in steps of this. */
const TELL_BYTES = 4 * 1024 * 1024;

/**
 * Undefined when this cannot be done; then nothing has changed. Not from within the parser's callbacks, as it may
 * have seen more than the request says.
 */
export function openTlsBody(request: IncomingMessage, events: TlsBodyEvents): TlsBody | undefined {
  const below = belowOf(request);
  return below === undefined ? undefined : new TlsBody(below, events);
}

/**
 * Reads a long body with a Content-Length from a server's connection behind TLS. Records come one by one, 65 536 in
 * a GiB, and node makes a Buffer and an event of each. Here it decrypts them into one buffer of the
 * connection, as it does for clients that ask for `onread`. Its parser stands aside and is told stand-ins for
 * what was handed over; whatever comes while nobody may take it goes to the parser and so into the request,
 * and what follows the body too. So keep-alive, pipelining, refusals and ends in the middle are
 * as they always are.
 */
export class TlsBody {
  readonly #below: Below;
  readonly #events: TlsBodyEvents;
  /** Bytes of the body that neither we nor the parser have seen. */
  #expected: number;
  /** Bytes that were handed over and that the parser does not know of. */
  #untold = 0;
  #paused = true;
  #left = false;
  /** The buffer is with whoever has paused us. */
  #kept = false;

  constructor(below: Below, events: TlsBodyEvents) {
    this.#below = below;
    this.#events = events;
    const { request, socket, handle, parser, keys } = below;
    socket.pause();
    handle.readStop();
    handle.reading = false;
    // Whatever node's streams decide meanwhile, we alone read.
    handle.readStart = () => 0;
    handle.readStop = () => 0;
    this.#expected = Number(request.headers['content-length']) - request.readableLength;
    parser.unconsume();
    Reflect.set(socket, keys.callback, (count: number, buffer: Buffer) => this.#read(buffer.subarray(0, count)));
    Reflect.set(socket, keys.next, () => this.#nextBuffer());
    if (Reflect.get(socket, keys.buffer) === null) {
      // Node writes there for as long as the connection lives, below the parser or not, so it is the socket's for ever.
      const buffer = newBuffer();
      Reflect.set(socket, keys.buffer, buffer);
      Reflect.apply(handle.useUserBuffer, handle, [buffer]);
    }
  }

  pause(): void {
    this.#paused = true;
    this.#native('readStop');
  }

  /** Also begins it. */
  resume(): void {
    this.#paused = false;
    while (!this.#paused && !this.#left) {
      const chunk: unknown = this.#below.request.read();
      if (!Buffer.isBuffer(chunk)) break;
      this.#events.data(chunk);
    }
    if (!this.#paused && !this.#left) this.#native('readStart');
  }

  /** Node reads on, from the first byte that was not handed over. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    const { socket, handle, parser, keys } = this.#below;
    Reflect.deleteProperty(handle, 'readStart');
    Reflect.deleteProperty(handle, 'readStop');
    // Should node take its parser away, bytes come to the stream as without us.
    Reflect.set(socket, keys.callback, (count: number, buffer: Buffer) => {
      socket.push(Buffer.from(buffer.subarray(0, count)));
    });
    // Node asks for the next buffer after it has told us of bytes, so maybe now. Not by us: the socket outlives the request.
    Reflect.set(socket, keys.next, this.#kept ? onceMore(socket, keys.next) : null);
    if (socket.destroyed) return;
    this.#tell();
    if (socket.destroyed || Reflect.get(socket, 'parser') !== parser) return;
    parser.consume(handle);
    handle.readStop();
    // Through both states, so that the stream and the handle agree again.
    socket.pause();
    handle.reading = false;
    socket.resume();
  }

  #native(name: 'readStart' | 'readStop'): void {
    const { socket, handle } = this.#below;
    const method: unknown = Reflect.get(Object.getPrototypeOf(handle), name);
    if (!socket.destroyed && typeof method === 'function') Reflect.apply(method, handle, []);
  }

  /** Node stops reading by itself when it is told false. */
  #read(chunk: Buffer): true {
    const length = this.#paused ? 0 : Math.min(chunk.length, this.#expected);
    if (length > 0) {
      this.#expected -= length;
      this.#untold += length;
      this.#events.data(length === chunk.length ? chunk : chunk.subarray(0, length));
      this.#kept = this.#paused;
      if (this.#untold >= TELL_BYTES) this.#tell();
    }
    // Several records are decrypted at once: a pause does not hold back all of them, nor does the body's end.
    if (length < chunk.length) this.#pass(Buffer.from(chunk.subarray(length)));
    if (this.#expected > 0 || this.#left) return true;
    this.leave();
    this.#events.rest();
    return true;
  }

  #pass(chunk: Buffer): void {
    this.#expected -= Math.min(chunk.length, this.#expected);
    this.#tell();
    if (!this.#below.socket.destroyed) this.#below.socket.emit('data', chunk);
  }

  #nextBuffer(): Buffer | undefined {
    if (!this.#kept) return undefined;
    this.#kept = false;
    return newBuffer();
  }

  /** The request hears nothing of it: its callback is away meanwhile, and then the parser makes no Buffer either. */
  #tell(): void {
    const { socket, parser, onBody } = this.#below;
    standIn ??= Buffer.alloc(TELL_BYTES);
    const callback = parser[onBody];
    parser[onBody] = null;
    try {
      while (this.#untold > 0 && !socket.destroyed) {
        const bytes = Math.min(this.#untold, TELL_BYTES);
        this.#untold -= bytes;
        socket.emit('data', standIn.subarray(0, bytes));
      }
    } finally {
      parser[onBody] = callback;
    }
  }
}

/** Never touched, so it takes no memory. */
let standIn: Buffer | undefined;

/** Memory of its own: nothing else may lie in it. */
function newBuffer(): Buffer {
  return Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

function onceMore(socket: TLSSocket, next: symbol): () => Buffer {
  return () => {
    Reflect.set(socket, next, null);
    return newBuffer();
  };
}

/** When its length is known, nobody has read it, and all private things are as we know them. */
function belowOf(request: IncomingMessage): Below | undefined {
  const { socket } = request;
  if (!(socket instanceof TLSSocket) || socket.destroyed || !isUntouched(request)) return undefined;
  // Set while answers of pipelined requests pile up; the parser must not be fed then.
  if (Reflect.get(socket, '_paused') === true) return undefined;
  const handle: unknown = Reflect.get(socket, '_handle');
  const parser: unknown = Reflect.get(socket, 'parser');
  const keys = keysOf(socket);
  if (!isHandle(handle) || !isParser(parser) || keys === undefined) return undefined;
  const onBody: unknown = Reflect.get(parser.constructor, 'kOnBody');
  if (typeof onBody !== 'number' || typeof parser[onBody] !== 'function') return undefined;
  return { request, socket, handle, parser, onBody, keys };
}

function isUntouched(request: IncomingMessage): boolean {
  if (request.complete || request.destroyed || request.readableFlowing !== null || request.readableDidRead)
    return false;
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return encoding === undefined && Number(length ?? 0) >= WORTH_READING;
}

/** One that no `onread` was asked for, or by us. */
function keysOf(socket: TLSSocket): Keys | undefined {
  const found = new Map(Object.getOwnPropertySymbols(socket).map((key) => [key.description, key]));
  const [buffer, callback, next] = [found.get('kBuffer'), found.get('kBufferCb'), found.get('kBufferGen')];
  if (buffer === undefined || callback === undefined || next === undefined) return undefined;
  return { buffer, callback, next };
}

function isHandle(value: unknown): value is Handle {
  return (
    has(value, { reading: 'boolean', readStart: 'function', readStop: 'function', useUserBuffer: 'function' }) &&
    !Object.hasOwn(value, 'readStart') &&
    !Object.hasOwn(value, 'readStop')
  );
}

/** One that reads the connection itself. */
function isParser(value: unknown): value is Parser {
  return (
    has(value, { consume: 'function', unconsume: 'function', _consumed: 'boolean' }) &&
    Reflect.get(value, '_consumed') === true
  );
}

function has(value: unknown, types: Readonly<Record<string, string>>): value is object {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(types).every(([name, type]) => typeof Reflect.get(value, name) === type);
}
