import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { duplicate } from './duplicate.ts';
import { descriptorOf, type LentSocket, lendSocket } from './lent-socket.ts';
import type { TlsSession } from './tls-session.ts';

/** Of one read; four records. */
const CHUNK = 64 * 1024;
/** Encrypted at once: the session keeps as much memory for as long as it lives. */
const SLICE = 64 * 1024;

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
  /** Bytes that are being written. */
  #writing = 0;
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
    socket.on('end', () => this.#end());
    socket.on('timeout', () => this.emit('timeout'));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
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
    if (!this.#secure || this.#lent || this.destroyed) return undefined;
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
        if (this.#ended) this.#end();
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
      this.#socket.end();
      done();
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
      if (!this.#secure && !this.#shakeHands()) return;
      while (this.#wanted && !this.destroyed && !this.#lent) {
        const chunk = this.#take();
        if (chunk === undefined) break;
        if (this.push(chunk)) continue;
        this.#wanted = false;
        this.#socket.pause();
      }
      if (!this.destroyed && !this.#lent) this.#flush();
    } catch (error) {
      this.#fail(error);
    }
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

  #encrypt(chunk: Buffer, done: (error?: Error | null) => void): void {
    if (chunk.length === 0) {
      done();
      return;
    }
    this.#socket.cork();
    try {
      for (let from = 0; from < chunk.length; from += SLICE) {
        this.#session.write(chunk.subarray(from, from + SLICE));
        const isLast = from + SLICE >= chunk.length;
        this.#socket.write(this.#session.outgoing(), isLast ? done : undefined);
      }
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#socket.uncork();
    }
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
    const chunk = Buffer.allocUnsafeSlow(CHUNK);
    let length = 0;
    while (length < CHUNK) {
      const got = this.#session.read(chunk.subarray(length));
      if (got === null && length === 0) this.#end();
      if (got === null || got === 0) break;
      length += got;
    }
    return length === 0 ? undefined : chunk.subarray(0, length);
  }

  #end(): void {
    this.#ended = true;
    if (this.readableEnded || this.destroyed || this.#lent) return;
    if (!this.#secure) this.destroy(new Error('The connection was closed before it was secure.'));
    else this.push(null);
  }

  #flush(): void {
    const bytes = this.#session.outgoing();
    if (bytes.length > 0 && !this.#socket.destroyed) this.#socket.write(bytes);
  }
}
