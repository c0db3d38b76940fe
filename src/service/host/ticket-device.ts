import type { ByteSink, ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { Blkhash, BlkhashAlgorithm } from '../../engine/blkhash.ts';
import { type DeviceMeans, landOnDevice, sendFromDevice, zeroOnDevice } from '../../engine/device-io.ts';
import type { DeviceExtent, DirtyExtent } from '../../stores/device.ts';
import type { DeviceTicket } from './ticket.ts';
import type { TicketCounts, TicketOperation } from './ticket-counts.ts';
import type { Operation } from './ticket-operation.ts';
import type { OpenedDevice } from './ticket-ports.ts';

export { type BlkhashAlgorithm, blkhashAlgorithms } from '../../engine/blkhash.ts';

export interface TicketMeans extends DeviceMeans {
  readonly blkhash: Blkhash;
  readonly counts: TicketCounts;
}

export interface OpenSink {
  readonly sink: ByteSink;
  /** Fires when the client is gone. */
  readonly gone: AbortSignal;
}

/**
 * The Device of a ticket as one connection may use it. Every call is an operation of the ticket: refused with
 * `cancelled` once that is, counted, renewing. Ranges must lie below `size` for reading and below the ticket's own size
 * for writing; doors say so in their words first.
 */
export class TicketDevice {
  readonly #ticket: DeviceTicket;
  readonly #opened: OpenedDevice;
  readonly #means: TicketMeans;

  constructor(ticket: DeviceTicket, opened: OpenedDevice, means: TicketMeans) {
    this.#ticket = ticket;
    this.#opened = opened;
    this.#means = means;
  }

  get kind(): OpenedDevice['kind'] {
    return this.#opened.kind;
  }

  /** Bytes that can be read: what there is, and not more than the ticket allows. */
  get size(): number {
    return Math.min(this.#opened.device.size, this.#ticket.content.size);
  }

  /** Writes that may come side by side. */
  get writers(): number {
    return this.#opened.device.traits.writers;
  }

  fingerprint(): Promise<string | undefined> {
    return this.#opened.fingerprint();
  }

  /** Throws `incomplete` when the source ends early; what came before that is written. */
  async receive(request: {
    readonly range: Range;
    readonly flush: boolean;
    readonly source: ByteSource;
  }): Promise<void> {
    const { range, flush, source } = request;
    const { device } = this.#opened;
    const punch = this.#ticket.content.sparse && device.traits.unmap === 'native';
    await this.#changing({ kind: 'write', range, flush }, (onBytes, signal) =>
      landOnDevice({ device, range, means: this.#means, onBytes, source, punch }, signal),
    );
  }

  async zero(range: Range, flush: boolean): Promise<void> {
    const { device } = this.#opened;
    await this.#changing({ kind: 'zero', range, flush }, (onBytes, signal) =>
      zeroOnDevice({ device, range, means: this.#means, onBytes }, signal),
    );
  }

  async flush(): Promise<void> {
    await this.#changing({ kind: 'flush', range: { offset: 0, length: 0 }, flush: true }, async () => {});
  }

  /**
   * `begin` opens the sink. When the signal that it is given fires the sink must reject what it was given, and
   * look at it no more, as a client that takes nothing would otherwise hold the end of the ticket up.
   */
  async send(range: Range, begin: (stop: AbortSignal) => OpenSink): Promise<void> {
    const { device } = this.#opened;
    await this.#run('read', range, (operation, onBytes) => {
      const { sink, gone } = begin(operation.signal);
      const signal = AbortSignal.any([operation.signal, gone]);
      return sendFromDevice({ device, range, means: this.#means, onBytes }, sink, signal);
    });
  }

  /** hex, of the blocks of `range`; it lies below `size`. */
  checksum(
    { range, ...how }: { readonly range: Range; readonly algorithm: BlkhashAlgorithm; readonly blockSize: number },
    gone: AbortSignal,
  ): Promise<string> {
    const { device } = this.#opened;
    const { blkhash, slabs } = this.#means;
    return this.#run('checksum', range, (operation, onBytes) =>
      blkhash.digest(
        { device, from: range.offset, size: rangeEnd(range), ...how, slabs, onBytes },
        AbortSignal.any([operation.signal, gone]),
      ),
    );
  }

  /** Runs `work`, which asks for extents, as an operation that moves nothing. */
  async look(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    await this.#run('extents', { offset: 0, length: 0 }, (operation) => work(operation.signal));
  }

  extents(range: Range, signal: AbortSignal): AsyncIterable<DeviceExtent> {
    return this.#opened.device.extents(range, signal);
  }

  /** Cut where either changes. Throws `unsupported` where there is no dirty bitmap. */
  async *dirty(range: Range, signal: AbortSignal): AsyncGenerator<DirtyExtent & { readonly zero: boolean }> {
    const { device } = this.#opened;
    if (device.dirty === undefined) {
      throw new HawserError('unsupported', `The ${this.#opened.kind} of this ticket has no dirty bitmap.`);
    }
    const zeros = device.extents(range, signal)[Symbol.asyncIterator]();
    let known = await zeros.next();
    for await (const { offset, length, dirty } of device.dirty(range, signal)) {
      for (let at = offset; at < offset + length; ) {
        while (known.done !== true && rangeEnd(known.value) <= at) known = await zeros.next();
        const end = known.done === true ? offset + length : Math.min(offset + length, rangeEnd(known.value));
        yield { offset: at, length: end - at, dirty, zero: known.done !== true && known.value.zero };
        at = end;
      }
    }
    await zeros.return?.();
  }

  async #changing(
    what: { readonly kind: TicketOperation; readonly range: Range; readonly flush: boolean },
    change: (onBytes: (bytes: number) => void, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    let flushed: (() => Promise<void>) | undefined;
    await this.#run(what.kind, what.range, async (operation, onBytes) => {
      await change(onBytes, operation.signal);
      if (!what.flush) return;
      flushed = this.#ticket.flushing();
      await this.#opened.device.flush(operation.signal);
    });
    await flushed?.();
  }

  #run<T>(
    kind: TicketOperation,
    range: Range,
    work: (operation: Operation, onBytes: (bytes: number) => void) => Promise<T>,
  ): Promise<T> {
    const { counts } = this.#means;
    return this.#ticket.run(range, (operation) => {
      counts.begun(kind);
      return work(operation, (bytes) => {
        counts.moved(kind, bytes);
        operation.moved(bytes);
      });
    });
  }
}
