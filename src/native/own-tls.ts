import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { duplicate } from './duplicate.ts';
import { descriptorOf, type LentSocket, lendSocket } from './lent-socket.ts';
import type { TlsSession } from './tls-session.ts';

/** Of one read; four records. */
const CHUNK = 64 * 1024;
/** Encrypted at once: the session keeps as much memory for as long as it lives. */
const SLICE = 64 * 1024;
/** Of one write to the connection. */
const PIECE = 1024 * 1024;
/** What encryption adds to a piece: less than 256 bytes to each record of 16 KiB, and what the session had to say besides. */
const OVERHEAD = 64 * 1024;
/** For pieces that are encrypted, of all connections. */
const spare: Buffer[] = [];
const MOST_SPARE = 4;
/** What nothing was read into, by whichever connection looked last. */
let unused: Buffer | undefined;
/** As long as nginx gives it. */
const HANDSHAKE_MS = 60_000;

export interface OwnTlsSettings {
  /** Called when the session is secure, before any byte of content passes; what it throws ends the connection. */
  readonly secured?: () => void;
  /** Default 60 000. */
  readonly handshakeMs?: number;
}

/**
 * An end of a TLS connection that can be lent to a thread, which then decrypts what it reads straight from the
 * connection; a `TLSSocket` keeps its session to itself. It does what node:http asks of a socket.
 */
export class OwnTls extends Duplex {
  /** As a TLSSocket says it. */
  readonly encrypted = true;
  readonly #session: TlsSession;
  readonly #socket: Socket;
  readonly #secured: () => void;
  readonly #patience: NodeJS.Timeout;
  /** What is to be written before that can be: in the beginning, and while it is lent. */
  #later: (() => void) | undefined;
  /** Came in while it was lent for writing. */
  #kept: Buffer[] = [];
  /** Bytes that are being written, and of those the ones that the session has not seen. */
  #writing = 0;
  #unencrypted = 0;
  #secure = false;
  #wanted = false;
  #lent = false;
  /** The other side has said its last. */
  #ended = false;

  constructor(
    session: TlsSession,
    socket: Socket,
    { secured = () => {}, handshakeMs = HANDSHAKE_MS }: OwnTlsSettings = {},
  ) {
    super({ allowHalfOpen: false });
    this.#session = session;
    this.#socket = socket;
    this.#secured = secured;
    const late = () => this.destroy(new Error('The connection did not become secure in time.'));
    this.#patience = setTimeout(late, handshakeMs).unref();
    socket.on('connect', () => this.#drive());
    socket.on('data', (chunk: Buffer) => {
      if (this.#lent) return this.#keep(chunk);
      session.feed(chunk);
      this.#drive();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#drive();
    });
    socket.on('timeout', () => this.emit('timeout'));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => {
      // What came before its end may still be read.
      if (!this.#ended || this.#lent) this.destroy();
    });
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort;
  }

  get remoteFamily(): string | undefined {
    return this.#socket.remoteFamily;
  }

  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  get localPort(): number | undefined {
    return this.#socket.localPort;
  }

  get connecting(): boolean {
    return !this.#secure;
  }

  setKeepAlive(on: boolean, delay?: number): this {
    this.#socket.setKeepAlive(on, delay);
    return this;
  }

  setNoDelay(on?: boolean): this {
    this.#socket.setNoDelay(on);
    return this;
  }

  setTimeout(ms: number, listener?: () => void): this {
    if (listener !== undefined) this.once('timeout', listener);
    this.#socket.setTimeout(ms);
    return this;
  }

  /** As of net.Socket: ends, and goes when everything is written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  ref(): this {
    this.#socket.ref();
    return this;
  }

  unref(): this {
    this.#socket.unref();
    return this;
  }

  /** Undefined when this cannot be done; then nothing has changed. */
  lend(): LentSocket | undefined {
    if (!this.#secure || this.#lent || this.destroyed) return undefined;
    const below = lendSocket(this.#socket);
    if (below === undefined) return undefined;
    this.#handOver();
    if (this.destroyed) {
      below.drop();
      return undefined;
    }
    this.#session.readFrom(below.fd);
    return this.#lend(below, () => this.#session.readFrom(undefined));
  }

  /** For writing: everything that was written is with the kernel. Undefined when this cannot be done; then nothing has changed. */
  lendOutput(): LentSocket | undefined {
    if (!this.#secure || this.#lent || this.destroyed || this.#unencrypted > 0) return undefined;
    if (this.writableLength > this.#writing || this.writableCorked > 0 || this.#socket.writableLength > 0)
      return undefined;
    const fd = descriptorOf(this.#socket);
    const copy = fd === undefined ? undefined : duplicate(fd);
    if (copy === undefined) return undefined;
    return this.#lend({ fd: copy.fd, giveBack: copy.close, drop: copy.close }, () => {});
  }

  #lend(below: LentSocket, takeBack: () => void): LentSocket {
    this.#lent = true;
    const back = () => {
      this.#lent = false;
      if (this.destroyed) return this.#session[Symbol.dispose]();
      takeBack();
      const kept = this.#kept.splice(0);
      for (const chunk of kept) this.#session.feed(chunk);
      if (kept.length > 0) this.#socket.resume();
      // What the borrower left is first.
      this.#flush();
      this.#writeLater();
    };
    return {
      fd: below.fd,
      tls: this.#session.address,
      giveBack: () => {
        back();
        below.giveBack();
        // The session may have read ahead.
        this.#drive();
      },
      drop: () => {
        below.drop();
        back();
      },
    };
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#lent) return;
    this.#socket.resume();
    this.#drive();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing = chunk.length;
    const written = (error?: Error | null) => {
      this.#writing = 0;
      done(error);
    };
    const write = () => this.#encrypt(chunk, written);
    if (this.#secure && !this.#lent) write();
    else this.#later = write;
  }

  override _final(done: () => void): void {
    const end = () => {
      if (this.#secure) this.#session.end();
      this.#flush();
      // Whoever goes when all is written must not go before that. That the socket is gone it says itself.
      if (this.#socket.destroyed) done();
      else this.#socket.end(() => done());
    };
    if (this.#lent) this.#later = end;
    else end();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#patience);
    this.#socket.destroy();
    if (!this.#lent) this.#session[Symbol.dispose]();
    done(error);
  }

  #drive(): void {
    if (this.destroyed || this.#lent) return;
    try {
      if (!this.#secure && !this.#shakeHands()) {
        if (this.#ended) throw new Error('The connection was closed before it was secure.');
        return;
      }
      while (this.#wanted && !this.destroyed && !this.#lent) {
        const chunk = this.#take();
        if (chunk === undefined) {
          if (this.#ended) this.#pushEnd();
          break;
        }
        if (this.push(chunk)) continue;
        this.#wanted = false;
        this.#socket.pause();
      }
      if (!this.destroyed && !this.#lent) this.#flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Behind everything that was read before. */
  #pushEnd(): void {
    this.#wanted = false;
    this.push(null);
  }

  #shakeHands(): boolean {
    const done = this.#session.handshake();
    if (done) this.#secured();
    this.#flush();
    if (!done) return false;
    clearTimeout(this.#patience);
    this.#secure = true;
    this.#writeLater();
    return true;
  }

  #writeLater(): void {
    const write = this.#later;
    this.#later = undefined;
    write?.();
  }

  /** A piece after the other, so that it takes no more memory than one. */
  #encrypt(chunk: Buffer, done: (error?: Error | null) => void, from = 0): void {
    const next = (error?: Error | null) => {
      const goOn = () => this.#encrypt(chunk, done, from + PIECE);
      if (error != null || this.#unencrypted === 0 || this.destroyed) done(error);
      else if (this.#lent) this.#later = goOn;
      else goOn();
    };
    this.#unencrypted = Math.max(0, chunk.length - from - PIECE);
    try {
      this.#send(chunk.subarray(from, from + PIECE), next);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #send(piece: Buffer, done: (error?: Error | null) => void): void {
    const memory = piece.length <= SLICE ? undefined : (spare.pop() ?? Buffer.allocUnsafeSlow(PIECE + OVERHEAD));
    let length = 0;
    for (let from = 0; from < piece.length; from += SLICE) {
      this.#session.write(piece.subarray(from, from + SLICE));
      if (memory !== undefined) length += this.#session.takeOutgoing(memory.subarray(length));
    }
    if (memory === undefined) return void this.#socket.write(this.#session.outgoing(), done);
    this.#socket.write(memory.subarray(0, length), (error) => {
      if (spare.length < MOST_SPARE) spare.push(memory);
      done(error);
    });
  }

  /** The other side hears why, if it listens. */
  #fail(error: unknown): void {
    if (!this.destroyed && !this.#lent) this.#flush();
    this.destroy(error instanceof Error ? error : new Error(String(error)));
  }

  /** One piece at a time: nobody else may touch the session now. */
  #keep(chunk: Buffer): void {
    this.#kept.push(chunk);
    this.#socket.pause();
  }

  /** What has been read goes to who listens for `data`, whatever has been asked for. */
  #handOver(): void {
    while (this.readableLength > 0 && this.read() !== null);
    try {
      for (let chunk = this.#take(); chunk !== undefined && !this.destroyed; chunk = this.#take()) {
        this.emit('data', chunk);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Undefined when there is nothing now. */
  #take(): Buffer | undefined {
    const chunk = unused ?? Buffer.allocUnsafeSlow(CHUNK);
    let length = 0;
    while (length < CHUNK) {
      const got = this.#session.read(chunk.subarray(length));
      this.#ended ||= got === null;
      if (got === null || got === 0) break;
      length += got;
    }
    unused = length === 0 ? chunk : undefined;
    return length === 0 ? undefined : chunk.subarray(0, length);
  }

  #flush(): void {
    const bytes = this.#session.outgoing();
    if (bytes.length > 0 && !this.#socket.destroyed) this.#socket.write(bytes);
  }
}
