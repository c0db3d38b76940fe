import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type LentSocket, lendSocket } from './lent-socket.ts';
import { type TlsSession, tlsClient } from './openssl.ts';

export interface PinnedTlsTarget {
  readonly host: string;
  readonly port: number;
  /** What the server is asked for; undefined for an address. */
  readonly name: string | undefined;
  /** DER of the only certificate that is good: who gives it has verified it, on another connection to the same server. */
  readonly certificate: Uint8Array;
}

/** Of one read; four records. */
const CHUNK = 64 * 1024;

/** Makes connections to a server whose certificate is known already. Undefined where this program has no such TLS. */
export function pinnedTls(): ((target: PinnedTlsTarget) => PinnedTls) | undefined {
  const client = tlsClient();
  return client && ((target) => new PinnedTls(client(target.name), target));
}

/** The certificate is another one than was verified. Nothing was sent. */
export class OtherCertificate extends Error {
  constructor() {
    super('The server shows another certificate than before.');
    this.name = 'OtherCertificate';
  }
}

/**
 * A TLS client that can be lent to a thread, which then decrypts what it reads straight from the connection; a
 * `TLSSocket` keeps its session to itself. It does what node:http asks of a socket.
 */
export class PinnedTls extends Duplex {
  readonly #session: TlsSession;
  readonly #socket: Socket;
  readonly #certificate: Uint8Array;
  /** Goes on with what is to be written first. */
  #begin: (() => void) | undefined;
  #secure = false;
  #wanted = false;
  #lent = false;

  constructor(session: TlsSession, { host, port, certificate }: PinnedTlsTarget) {
    super({ allowHalfOpen: false });
    this.#session = session;
    this.#certificate = certificate;
    this.#socket = connect({ host, port, noDelay: true });
    this.#socket.on('connect', () => this.#drive());
    this.#socket.on('data', (chunk: Buffer) => {
      session.feed(chunk);
      this.#drive();
    });
    this.#socket.on('end', () => this.#end());
    this.#socket.on('error', (error) => this.destroy(error));
    this.#socket.on('close', () => this.destroy());
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
    this.#socket.setTimeout(ms, listener);
    return this;
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
    this.#lent = true;
    this.#session.readFrom(below.fd);
    const back = () => {
      this.#lent = false;
      if (this.destroyed) this.#session[Symbol.dispose]();
      else this.#session.readFrom(undefined);
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
    const write = () => {
      try {
        this.#session.write(chunk);
        this.#socket.write(this.#session.outgoing(), done);
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    };
    if (this.#secure) write();
    else this.#begin = write;
  }

  override _final(done: () => void): void {
    if (this.#secure && !this.#lent) this.#session.end();
    this.#flush();
    this.#socket.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    if (!this.#lent) this.#session[Symbol.dispose]();
    done(error);
  }

  #drive(): void {
    if (this.destroyed || this.#lent) return;
    try {
      if (!this.#secure && !this.#shakeHands()) return;
      while (this.#wanted && !this.destroyed) {
        const chunk = this.#take();
        if (chunk === undefined) break;
        if (this.push(chunk)) continue;
        this.#wanted = false;
        this.#socket.pause();
      }
      if (!this.destroyed) this.#flush();
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #shakeHands(): boolean {
    const done = this.#session.handshake();
    if (!done) this.#flush();
    if (!done) return false;
    if (!this.#session.peerCertificate().equals(this.#certificate)) throw new OtherCertificate();
    this.#flush();
    this.#secure = true;
    this.#begin?.();
    this.#begin = undefined;
    return true;
  }

  /** What has been read goes to who listens for `data`, whatever has been asked for. */
  #handOver(): void {
    while (this.readableLength > 0 && this.read() !== null);
    try {
      for (let chunk = this.#take(); chunk !== undefined && !this.destroyed; chunk = this.#take()) {
        this.emit('data', chunk);
      }
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
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
    if (this.readableEnded || this.destroyed || this.#lent) return;
    if (!this.#secure) this.destroy(new Error('The server closed the connection before it was secure.'));
    else this.push(null);
  }

  #flush(): void {
    const bytes = this.#session.outgoing();
    if (bytes.length > 0 && !this.#socket.destroyed) this.#socket.write(bytes);
  }
}
