import { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import { Slots } from '../../core/slots.ts';
import { type NbdExport, shakeHands } from './handshake.ts';
import { command, commandFlag, encodeRequest, exportFlag } from './protocol.ts';
import { type Pending, Replies, type StatusExtent } from './replies.ts';
import { type NbdAddress, type NbdTls, Transport } from './transport.ts';

/** Requests of one connection that are on their way at once. */
export const DEPTH = 16;

export interface NbdOptions {
  readonly address: NbdAddress;
  /** The server's default export unless said. */
  readonly exportName?: string;
  /** Meta contexts that are wanted, see `HandshakeRequest`; `NbdExport.contexts` has those that were given. */
  readonly contexts?: readonly string[];
  /** Without it the connection is in the clear, and a server that wants TLS refuses it. */
  readonly tls?: NbdTls;
  /** Requests that may be on their way at once, 16 unless said; more wait. */
  readonly depth?: number;
  /** How long, in ms, the whole handshake may take. */
  readonly handshakeLimit?: number;
  /** How long, in ms, a request that was aborted may stay unanswered before the connection is given up. */
  readonly patience?: number;
}

export interface WriteHow {
  /** The bytes survive a power cut when it resolves. */
  readonly fua?: boolean;
}

export interface ZeroHow extends WriteHow {
  /** The space is kept. */
  readonly noHole?: boolean;
  /** Rather fail (`unsupported`) than be as slow as writing zeros; only where the server offers it. */
  readonly fast?: boolean;
}

/**
 * One connection to an NBD server: one call is one request, several may be under way. Ranges lie inside the
 * export and are multiples of `export.blocks.minimum`; payloads are at most `export.blocks.maximum`. Throws what
 * `nbdFailure` makes of the server's errors, `connection-lost` for all that is under way when the connection
 * ends, `store-failed` when the server breaks the protocol. After an abort a call rejects with the signal's
 * reason: at once when it has not been sent or is a read, after the server's answer when it changes something.
 */
export class NbdClient implements AsyncDisposable {
  readonly export: NbdExport;
  readonly #transport: Transport;
  readonly #replies: Replies;
  readonly #slots: Slots;
  readonly #patience: number;
  #cookie = 0;

  private constructor(transport: Transport, found: NbdExport, options: NbdOptions) {
    this.export = found;
    this.#transport = transport;
    this.#replies = new Replies(transport, found.structured, new Set(found.contexts.keys()));
    this.#slots = new Slots(options.depth ?? DEPTH);
    this.#patience = options.patience ?? 10_000;
    void transport.closed.then((reason) => this.#slots.close(reason));
  }

  /** Throws `connection-lost` when nobody listens, `unavailable` after `handshakeLimit`, and what `shakeHands` throws. */
  static async open(options: NbdOptions, signal?: AbortSignal): Promise<NbdClient> {
    const { address, exportName = '', contexts = [], tls, handshakeLimit = 30_000 } = options;
    const limit = AbortSignal.timeout(handshakeLimit);
    const both = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    let transport: Transport | undefined;
    try {
      transport = await Transport.open(address, both);
      const host = address.kind === 'tcp' ? address.host : 'localhost';
      const found = await shakeHands(transport, { exportName, contexts, tls, host }, both);
      return new NbdClient(transport, found, options);
    } catch (error) {
      transport?.close(new HawserError('cancelled', 'The NBD connection was given up during its handshake.'));
      if (limit.aborted && signal?.aborted !== true) throw silent(handshakeLimit, error);
      throw error;
    }
  }

  can(flag: keyof typeof exportFlag): boolean {
    return (this.export.flags & exportFlag[flag]) !== 0;
  }

  /** Resolves, never rejects, when the connection has ended. */
  get closed(): Promise<HawserError> {
    return this.#transport.closed;
  }

  async read(into: Uint8Array, offset: number, signal?: AbortSignal): Promise<void> {
    const range = { offset, length: into.length };
    await this.#call({ type: command.read, kind: 'read', flags: 0, range, into }, signal);
  }

  async write(from: Uint8Array, offset: number, how: WriteHow = {}, signal?: AbortSignal): Promise<void> {
    const range = { offset, length: from.length };
    await this.#call({ type: command.write, kind: 'plain', flags: this.#fua(how), range, from }, signal);
  }

  async zero(range: Range, how: ZeroHow = {}, signal?: AbortSignal): Promise<void> {
    const noHole = how.noHole === true ? commandFlag.noHole : 0;
    const fast = how.fast === true && this.can('fastZero') ? commandFlag.fastZero : 0;
    await this.#call({ type: command.zero, kind: 'plain', flags: this.#fua(how) | noHole | fast, range }, signal);
  }

  /** The server may drop the range: what it reads as afterwards is not said. */
  async trim(range: Range, how: WriteHow = {}, signal?: AbortSignal): Promise<void> {
    await this.#call({ type: command.trim, kind: 'plain', flags: this.#fua(how), range }, signal);
  }

  async flush(signal?: AbortSignal): Promise<void> {
    await this.#call({ type: command.flush, kind: 'plain', flags: 0, range: { offset: 0, length: 0 } }, signal);
  }

  /** The range will be read soon. */
  async cache(range: Range, signal?: AbortSignal): Promise<void> {
    await this.#call({ type: command.cache, kind: 'plain', flags: 0, range }, signal);
  }

  /** By context; each list starts at the range and may end before or behind its end. */
  async status(range: Range, signal?: AbortSignal): Promise<ReadonlyMap<string, readonly StatusExtent[]>> {
    const { statuses } = await this.#call({ type: command.status, kind: 'status', flags: 0, range }, signal);
    return new Map([...statuses].map(([id, extents]) => [this.export.contexts.get(id) ?? '', extents]));
  }

  /** Ends the connection; whatever is under way is `cancelled`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#transport.send(
      encodeRequest({ command: command.disconnect, flags: 0, cookie: this.#cookie++, offset: 0, length: 0 }),
    );
    this.#transport.close(new HawserError('cancelled', 'This NBD connection was closed by us.'));
  }

  #fua({ fua }: WriteHow): number {
    return fua === true && this.can('fua') ? commandFlag.fua : 0;
  }

  async #call(call: Call, signal: AbortSignal | undefined): Promise<Pending> {
    await this.#slots.take(signal);
    // Between the moment a slot was free and this one: nothing is sent after an abort.
    const over: unknown = signal?.aborted === true ? signal.reason : this.#transport.end;
    if (over !== undefined) {
      this.#slots.giveBack();
      throw over;
    }
    return new Promise((resolve, reject) => {
      const cookie = this.#cookie++ % 2 ** 32;
      let timer: NodeJS.Timeout | undefined;
      const abort = () => {
        timer = setTimeout(() => this.#transport.close(unanswered(this.#patience)), this.#patience).unref();
        if (call.kind === 'plain' || !this.#replies.forget(cookie)) return;
        reject(signal?.reason);
      };
      const settle = (error: HawserError | undefined) => {
        this.#slots.giveBack();
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        if (signal?.aborted === true) reject(signal.reason);
        else if (error !== undefined) reject(error);
        else resolve(pending);
      };
      const { offset, length } = call.range;
      const pending: Pending = { kind: call.kind, offset, length, into: call.into, statuses: new Map(), settle };
      this.#replies.expect(cookie, pending);
      const head = encodeRequest({ command: call.type, flags: call.flags, cookie, offset, length });
      this.#transport.send(...(call.from === undefined ? [head] : [head, call.from]));
      signal?.addEventListener('abort', abort, { once: true });
    });
  }
}

interface Call {
  readonly type: number;
  readonly kind: Pending['kind'];
  readonly flags: number;
  readonly range: Range;
  readonly into?: Uint8Array;
  readonly from?: Uint8Array;
}

function silent(limit: number, cause: unknown): HawserError {
  return new HawserError(
    'unavailable',
    `The NBD server did not answer the handshake within ${limit / 1000} s. See whether it still runs, then try again.`,
    { cause },
  );
}

function unanswered(patience: number): HawserError {
  return new HawserError(
    'connection-lost',
    `The NBD server left a request that was cancelled unanswered for ${patience / 1000} s; the connection was closed. See whether it still runs, then try again.`,
  );
}
