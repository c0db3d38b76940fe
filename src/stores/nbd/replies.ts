import type { HawserError } from '../../core/errors.ts';
import { RangeSet } from '../../core/range.ts';
import { nbdFailure } from './failure.ts';
import {
  CHUNK_BYTES,
  CHUNK_DONE,
  CHUNK_MAGIC,
  COOKIE_HIGH,
  chunk,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
} from './protocol.ts';
import { type Transport, violation } from './transport.ts';

/** A request that was sent and not answered. */
export interface Pending {
  readonly kind: 'read' | 'status' | 'plain';
  readonly offset: number;
  readonly length: number;
  /** Of a read; undefined when nobody wants the bytes any more. */
  into: Uint8Array | undefined;
  readonly settle: (error: HawserError | undefined) => void;
  /** Of a status, by the number of the context. */
  readonly statuses: Map<number, readonly StatusExtent[]>;
}

/** As the server told it; flags mean what the context says. */
export interface StatusExtent {
  readonly length: number;
  readonly flags: number;
}

interface InFlight extends Pending {
  readonly seen: RangeSet;
  chunks: number;
  error: HawserError | undefined;
}

interface ChunkHead {
  readonly done: boolean;
  readonly type: number;
  readonly length: number;
  readonly request: InFlight;
  readonly cookie: number;
}

/** Descriptors of one chunk of a status reply; as many as QEMU sends at most. */
const MOST_EXTENTS = 128 * 1024;
const MOST_ERROR_TEXT = 4096;
/** A reply that is cut finer than this serves nobody. */
const FINEST_CHUNK = 512;

/**
 * The replies of one connection: each checked whole against the request it answers (magic, cookie, type, length,
 * place) before a byte of it goes anywhere; what does not fit closes the connection.
 */
export class Replies {
  readonly #transport: Transport;
  readonly #structured: boolean;
  readonly #contexts: ReadonlySet<number>;
  readonly #pending = new Map<number, InFlight>();
  readonly #head = Buffer.alloc(CHUNK_BYTES);
  readonly #small = Buffer.alloc(MOST_ERROR_TEXT);
  #filling: InFlight | undefined;

  constructor(transport: Transport, structured: boolean, contexts: ReadonlySet<number>) {
    this.#transport = transport;
    this.#structured = structured;
    this.#contexts = contexts;
    void transport.closed.then((reason) => {
      const left = [...this.#pending.values()];
      this.#pending.clear();
      for (const { settle } of left) settle(reason);
    });
    this.#next();
  }

  expect(cookie: number, request: Pending): void {
    this.#pending.set(cookie, { ...request, seen: new RangeSet(), chunks: 0, error: undefined });
  }

  /**
   * Nothing more is put into the buffer of this read, or false: its bytes are arriving just now, and `settle`
   * must be awaited.
   */
  forget(cookie: number): boolean {
    const request = this.#pending.get(cookie);
    if (request === undefined) return true;
    if (request === this.#filling) return false;
    request.into = undefined;
    return true;
  }

  #next(): void {
    const { inbox } = this.#transport;
    const head = this.#head.subarray(0, SIMPLE_REPLY_BYTES);
    inbox.fill(head, () => {
      const magic = head.readUInt32BE(0);
      if (magic === SIMPLE_REPLY_MAGIC) this.#simple(head);
      else if (magic !== CHUNK_MAGIC || !this.#structured) throw violation('a reply without its magic');
      else inbox.fill(this.#head.subarray(SIMPLE_REPLY_BYTES), () => this.#chunk(this.#head));
    });
  }

  #simple(head: Buffer): void {
    const cookie = this.#cookie(head);
    const request = this.#pending.get(cookie);
    if (request === undefined) throw violation('a reply to what was not asked');
    const number = head.readUInt32BE(4);
    if (number !== 0 || request.kind === 'plain') {
      this.#done(cookie, request, number === 0 ? undefined : nbdFailure(number));
      return;
    }
    if (request.kind === 'status' || this.#structured) throw violation('a simple reply to what needs chunks');
    this.#fill(request, 0, request.length, () => this.#done(cookie, request));
  }

  #chunk(head: Buffer): void {
    const cookie = this.#cookie(head);
    const request = this.#pending.get(cookie);
    if (request === undefined) throw violation('a reply to what was not asked');
    const type = head.readUInt16BE(6);
    const length = head.readUInt32BE(16);
    const done = (head.readUInt16BE(4) & CHUNK_DONE) !== 0;
    const found: ChunkHead = { done, type, length, request, cookie };
    request.chunks++;
    if (request.chunks > 16 + request.length / FINEST_CHUNK) throw violation('a reply in too many pieces');
    if (type >= 0x8000) this.#error(found);
    else if (type === chunk.none && length === 0 && done) this.#chunkEnd(found);
    else if (type === chunk.data && request.kind === 'read') this.#data(found);
    else if (type === chunk.hole && request.kind === 'read') this.#hole(found);
    else if (type === chunk.status && request.kind === 'status') this.#status(found);
    else throw violation(`chunk ${type} with ${length} bytes as a reply to ${request.kind}`);
  }

  #data(found: ChunkHead): void {
    if (found.length <= 8) throw violation('a chunk of data without data');
    const place = this.#small.subarray(0, 8);
    this.#transport.inbox.fill(place, () => {
      const length = found.length - 8;
      const at = this.#place(found.request, place.readBigUInt64BE(0), length);
      if (at === undefined) throw violation('data outside of what was asked for, or twice');
      this.#fill(found.request, at, length, () => this.#chunkEnd(found));
    });
  }

  #hole(found: ChunkHead): void {
    if (found.length !== 12) throw violation('a hole without its size');
    const place = this.#small.subarray(0, 12);
    this.#transport.inbox.fill(place, () => {
      const length = place.readUInt32BE(8);
      const at = this.#place(found.request, place.readBigUInt64BE(0), length);
      if (at === undefined) throw violation('a hole outside of what was asked for, or twice');
      found.request.into?.fill(0, at, at + length);
      this.#chunkEnd(found);
    });
  }

  #status(found: ChunkHead): void {
    const count = (found.length - 4) / 8;
    if (!Number.isInteger(count) || count < 1 || count > MOST_EXTENTS) throw violation('a status of no whole extents');
    const bytes = Buffer.allocUnsafe(found.length);
    this.#transport.inbox.fill(bytes, () => {
      const context = bytes.readUInt32BE(0);
      const { statuses } = found.request;
      if (!this.#contexts.has(context) || statuses.has(context))
        throw violation('a status of a context that was not asked for');
      const extents: StatusExtent[] = [];
      for (let at = 4; at < bytes.length; at += 8) {
        const length = bytes.readUInt32BE(at);
        if (length === 0) throw violation('a status with an empty extent');
        extents.push({ length, flags: bytes.readUInt32BE(at + 4) });
      }
      statuses.set(context, extents);
      this.#chunkEnd(found);
    });
  }

  /** Kept until the last chunk: others may follow. */
  #error(found: ChunkHead): void {
    if (found.length < 6 || found.length > MOST_ERROR_TEXT) throw violation(`an error of ${found.length} bytes`);
    const bytes = this.#small.subarray(0, found.length);
    this.#transport.inbox.fill(bytes, () => {
      const number = bytes.readUInt32BE(0);
      const length = bytes.readUInt16BE(4);
      if (number === 0 || 6 + length > bytes.length) throw violation('an error without its number or text');
      found.request.error ??= nbdFailure(number, bytes.toString('utf8', 6, 6 + length));
      this.#chunkEnd(found);
    });
  }

  /** Where in the buffer it goes, or undefined when it is no part of the request that is still missing. */
  #place(request: InFlight, offset: bigint, length: number): number | undefined {
    const at = Number(offset - BigInt(request.offset));
    if (length <= 0 || at < 0 || at + length > request.length) return undefined;
    return request.seen.add({ offset: at, length }) === length ? at : undefined;
  }

  #fill(request: InFlight, at: number, length: number, then: () => void): void {
    const { inbox } = this.#transport;
    if (request.into === undefined) {
      inbox.skip(length, then);
      return;
    }
    this.#filling = request;
    inbox.fill(request.into.subarray(at, at + length), () => {
      this.#filling = undefined;
      then();
    });
  }

  #chunkEnd({ done, request, cookie }: ChunkHead): void {
    if (!done) {
      this.#next();
      return;
    }
    if (request.error !== undefined) {
      this.#done(cookie, request, request.error);
      return;
    }
    if (request.kind === 'read' && request.seen.bytes !== request.length) throw violation('a read with bytes missing');
    if (request.kind === 'status' && request.statuses.size === 0) throw violation('a status without extents');
    this.#done(cookie, request);
  }

  #done(cookie: number, request: InFlight, error?: HawserError): void {
    this.#pending.delete(cookie);
    request.settle(error);
    this.#next();
  }

  /** -1 when it cannot be one of ours. */
  #cookie(head: Buffer): number {
    return head.readUInt32BE(8) === COOKIE_HIGH ? head.readUInt32BE(12) : -1;
  }
}
