import type { ByteSink, ByteSource } from '../../core/bytes.ts';
import { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { Blkhash, BlkhashAlgorithm } from '../../engine/blkhash.ts';
import { type DeviceMeans, landOnDevice, sendFromDevice, zeroOnDevice } from '../../engine/device-io.ts';
import type { DeviceExtent, DirtyExtent } from '../../stores/device.ts';
import type { DeviceTicket } from './ticket.ts';
import type { OpenedDevice } from './ticket-ports.ts';

export interface TicketMeans extends DeviceMeans {
  readonly blkhash: Blkhash;
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
    await this.#changing(range, flush, (onBytes, signal) =>
      landOnDevice({ device, range, means: this.#means, onBytes, source, punch }, signal),
    );
  }

  async zero(range: Range, flush: boolean): Promise<void> {
    const { device } = this.#opened;
    await this.#changing(range, flush, (onBytes, signal) =>
      zeroOnDevice({ device, range, means: this.#means, onBytes }, signal),
    );
  }

  async flush(): Promise<void> {
    await this.#changing({ offset: 0, length: 0 }, true, async () => {});
  }

  /** `gone` fires when the client is. */
  async send(range: Range, sink: ByteSink, gone: AbortSignal): Promise<void> {
    const { device } = this.#opened;
    await this.#ticket.run(range, (operation) =>
      sendFromDevice(
        { device, range, means: this.#means, onBytes: (bytes) => operation.moved(bytes) },
        sink,
        AbortSignal.any([operation.signal, gone]),
      ),
    );
  }

  /** hex. */
  checksum(algorithm: BlkhashAlgorithm, blockSize: number, gone: AbortSignal): Promise<string> {
    const { device } = this.#opened;
    const { blkhash, slabs } = this.#means;
    return this.#ticket.run({ offset: 0, length: this.size }, (operation) =>
      blkhash.digest(
        { device, size: this.size, algorithm, blockSize, slabs, onBytes: (bytes) => operation.moved(bytes) },
        AbortSignal.any([operation.signal, gone]),
      ),
    );
  }

  extents(range: Range, signal: AbortSignal): AsyncIterable<DeviceExtent> {
    return this.#opened.device.extents(range, signal);
  }

  /** Throws `unsupported` where there is no dirty bitmap. */
  dirty(range: Range, signal: AbortSignal): AsyncIterable<DirtyExtent> {
    const { device } = this.#opened;
    if (device.dirty === undefined) {
      throw new HawserError('unsupported', `The ${this.#opened.kind} of this ticket has no dirty bitmap.`);
    }
    return device.dirty(range, signal);
  }

  async #changing(
    range: Range,
    flush: boolean,
    change: (onBytes: (bytes: number) => void, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    let flushed: (() => Promise<void>) | undefined;
    await this.#ticket.run(range, async (operation) => {
      await change((bytes) => operation.moved(bytes), operation.signal);
      if (!flush) return;
      flushed = this.#ticket.flushing();
      await this.#opened.device.flush(operation.signal);
    });
    await flushed?.();
  }
}
