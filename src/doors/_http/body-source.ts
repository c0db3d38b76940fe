import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { passedInBuffers } from '../../native/young-garbage.ts';
import { lendConnection } from './lent-connection.ts';
import { openTlsBody, type TlsBody } from './tls-body.ts';

/** A body that says nothing for so long is given up, unless its door says otherwise; what arrived is kept. */
const IDLE_MS = 120_000;

/** The body of a request, chunk by chunk as the socket gives it, held back while the taker is busy. Never destroys the request. */
export function bodySource(request: IncomingMessage, idleMs: number = IDLE_MS): ByteSource {
  return { drain: (take, signal) => drain({ request, idleMs }, take, signal), lend: () => lendConnection(request) };
}

function drain(parts: Parts, take: Take, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => new Draining(parts, { take, signal, resolve, reject }).begin());
}

type Take = (chunk: Uint8Array) => Promise<void> | undefined;

interface Parts {
  readonly request: IncomingMessage;
  readonly idleMs: number;
}

interface Wanted {
  readonly take: Take;
  readonly signal: AbortSignal;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

class Draining {
  readonly #request: IncomingMessage;
  readonly #wanted: Wanted;
  readonly #idle: NodeJS.Timeout;
  /** Who reads, when it is not the request. */
  #tls: TlsBody | undefined;
  #busy: Promise<void> | undefined;
  #ended = false;
  #left = false;
  #heard = performance.now();

  constructor({ request, idleMs }: Parts, wanted: Wanted) {
    this.#request = request;
    this.#wanted = wanted;
    const look = () => {
      if (this.#busy === undefined && performance.now() - this.#heard > idleMs)
        this.#fail(lost('The client has sent nothing for too long.'));
    };
    this.#idle = setInterval(look, Math.min(idleMs, IDLE_MS) / 8).unref();
  }

  begin(): void {
    const { signal } = this.#wanted;
    if (signal.aborted) return void this.#fail(signal.reason);
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#request.on('end', this.#onEnd).on('close', this.#onClose).on('error', this.#onClose);
    // Later, when its parser is through with what it has.
    if (this.#request.socket instanceof TLSSocket) process.nextTick(() => this.#readTls());
    else this.#readRequest();
  }

  #readTls(): void {
    if (this.#left) return;
    this.#tls = openTlsBody(this.#request, { data: (chunk) => this.#hand(chunk), rest: () => this.#readRequest() });
    if (this.#tls === undefined) this.#readRequest();
    else this.#tls.resume();
  }

  #readRequest(): void {
    this.#tls = undefined;
    const request = this.#request.on('data', this.#onData);
    if (request.readableEnded) this.#onEnd();
    else if (request.destroyed) this.#onClose();
    else if (this.#busy === undefined)
      request.resume(); // it stands still when it was lent
    else request.pause();
  }

  #hand(chunk: Uint8Array): void {
    this.#heard = performance.now();
    try {
      this.#busy = this.#wanted.take(chunk);
    } catch (error) {
      return void this.#fail(error);
    }
    if (this.#busy === undefined) return;
    (this.#tls ?? this.#request).pause();
    this.#busy.then(
      () => this.#goOn(),
      (error: unknown) => this.#fail(error),
    );
  }

  #goOn(): void {
    this.#busy = undefined;
    this.#heard = performance.now();
    if (this.#left) return;
    if (this.#ended) this.#finish();
    else (this.#tls ?? this.#request).resume();
  }

  #finish(): void {
    this.#leave();
    this.#wanted.resolve();
  }

  #fail(error: unknown): void {
    if (this.#left) return;
    this.#leave();
    this.#request.pause();
    this.#wanted.reject(error);
  }

  #leave(): void {
    this.#left = true;
    clearInterval(this.#idle);
    this.#tls?.leave();
    this.#request.off('data', this.#onData).off('end', this.#onEnd);
    this.#request.off('close', this.#onClose).off('error', this.#onClose);
    this.#wanted.signal.removeEventListener('abort', this.#onAbort);
  }

  readonly #onData = (chunk: Buffer) => {
    this.#hand(chunk);
    passedInBuffers(chunk.length);
  };

  readonly #onEnd = () => {
    this.#ended = true;
    if (this.#busy === undefined) this.#finish();
  };

  readonly #onClose = () => {
    if (this.#ended) return;
    // The last bytes may still be on their way into the store; they count.
    const broken = () => this.#fail(lost('The connection broke before the body was whole.'));
    Promise.resolve(this.#busy).then(broken, (error: unknown) => this.#fail(error));
  };

  readonly #onAbort = () => this.#fail(this.#wanted.signal.reason);
}

function lost(message: string): HawserError {
  return new HawserError(
    'connection-lost',
    `${message} What arrived is kept; ask for the received ranges and send the rest.`,
  );
}
