import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { HawserError } from '../../core/errors.ts';
import { Inbox } from './inbox.ts';

/** Where an NBD server listens. */
export type NbdAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** PEM. The server's certificate must be of `ca`, and of `serverName` (else the host that was connected to). */
export interface NbdTls {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
}

/**
 * A connection whose bytes come through an Inbox. It ends once, for one reason, which `closed` is told; whoever
 * waits for bytes must listen to that.
 */
export class Transport {
  readonly inbox = new Inbox();
  readonly #closed = Promise.withResolvers<HawserError>();
  #socket: Socket;
  #end: HawserError | undefined;

  private constructor(open: (onread: OnRead) => Socket) {
    this.#socket = open({
      buffer: () => this.inbox.nextBuffer(),
      callback: (length, buffer) => {
        this.#received(buffer.subarray(0, length));
        return true;
      },
    });
    this.#watch(this.#socket);
  }

  static async open(address: NbdAddress, signal?: AbortSignal): Promise<Transport> {
    signal?.throwIfAborted();
    const transport = new Transport((onread) =>
      address.kind === 'unix'
        ? connect({ path: address.path, onread })
        : connect({ host: address.host, port: address.port, noDelay: true, keepAlive: true, onread }),
    );
    await transport.#until('connect', signal);
    return transport;
  }

  /** Resolves, never rejects, when the connection has ended. */
  get closed(): Promise<HawserError> {
    return this.#closed.promise;
  }

  /** Why it has ended. */
  get end(): HawserError | undefined {
    return this.#end;
  }

  send(...parts: readonly Uint8Array[]): void {
    if (this.#end !== undefined) return;
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  /** `length` bytes, or the reason why the connection ended. */
  async take(length: number, signal?: AbortSignal): Promise<Buffer> {
    return this.#orEnd(this.inbox.take(length), signal);
  }

  /** TLS from here on. What came ahead of it would be taken for bytes of the server behind it. */
  async startTls({ ca, cert, key, serverName }: NbdTls, host: string, signal?: AbortSignal): Promise<void> {
    if (this.inbox.isAhead) {
      this.close(violation('it sent more in the clear after it had agreed to TLS'));
      throw this.#end;
    }
    const plain = this.#socket;
    const secure = connectTls({
      socket: plain,
      ca,
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...nameOf(serverName ?? host),
    });
    this.#socket = secure;
    secure.on('data', (bytes: Buffer) => this.#received(bytes));
    this.#watch(secure);
    await this.#until('secureConnect', signal);
  }

  /** Ends it now; whoever waits hears `reason`. The first reason stays. */
  close(reason: HawserError): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    this.inbox.close();
    this.#socket.destroy();
    this.#closed.resolve(reason);
  }

  #received(bytes: Uint8Array): void {
    try {
      this.inbox.received(bytes);
    } catch (cause) {
      this.close(toViolation(cause));
    }
  }

  #watch(socket: Socket): void {
    socket.on('error', (cause) => this.close(lost(cause)));
    socket.on('end', () => this.close(lost()));
    socket.on('close', () => this.close(lost()));
  }

  async #until(event: string, signal?: AbortSignal): Promise<void> {
    const happened = new Promise<void>((resolve) => this.#socket.once(event, () => resolve()));
    await this.#orEnd(happened, signal);
  }

  async #orEnd<T>(wanted: Promise<T>, signal?: AbortSignal): Promise<T> {
    const stop = () => this.close(aborted(signal));
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted === true) stop();
    try {
      const first = await Promise.race([wanted.then((value) => ({ value })), this.#closed.promise]);
      if (first instanceof HawserError) {
        signal?.throwIfAborted();
        throw first;
      }
      return first.value;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }
}

interface OnRead {
  readonly buffer: () => Uint8Array;
  readonly callback: (length: number, buffer: Uint8Array) => boolean;
}

/** The server broke the protocol: nothing more is believed that comes from it. */
export function violation(what: string, cause?: unknown): HawserError {
  return new HawserError(
    'store-failed',
    `The NBD server broke the protocol (${what}); the connection was closed. Look at what serves this NBD address, or use another server.`,
    { cause },
  );
}

function toViolation(cause: unknown): HawserError {
  return cause instanceof HawserError ? cause : violation('it sent what nobody asked for', cause);
}

function lost(cause?: unknown): HawserError {
  const why = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? ` (${cause.code})` : '';
  return new HawserError(
    'connection-lost',
    `The connection to the NBD server was lost${why}. See whether the server still runs, then try again.`,
    { cause },
  );
}

function aborted(signal: AbortSignal | undefined): HawserError {
  return new HawserError('cancelled', 'The connection to the NBD server was given up.', { cause: signal?.reason });
}

/** SNI takes names only; an address is still compared with the certificate. */
function nameOf(host: string): { readonly servername?: string; readonly host?: string } {
  return /^[\d.]+$|:/.test(host) ? { host } : { servername: host, host };
}
