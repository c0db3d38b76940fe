import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { Device, DeviceExtent, DeviceTraits, DirtyExtent } from '../device.ts';
import { checkInside } from '../key.ts';
import { OverlapGuard } from '../overlap-guard.ts';
import { Allocation, contextsFor } from './allocation.ts';
import { DEPTH, type NbdClient, type NbdOptions } from './client.ts';
import { NbdConnections } from './connections.ts';
import { isRefusal } from './failure.ts';

export interface NbdDeviceOptions extends Omit<NbdOptions, 'contexts'> {
  /** Also an export that could be written is only read. */
  readonly readOnly?: boolean;
  /** Name of a dirty bitmap that the server exports; true: whichever it exports. */
  readonly bitmap?: string | true;
  /** At most; 4 unless said, and one where the server does not say that it takes several. */
  readonly connections?: number;
  /** Bytes, where the content ends before the export does: QEMU counts in sectors of 512. */
  readonly size?: number;
}

/**
 * Payload of one request. A unix socket holds about 200 KiB: larger replies make the server wait in the middle of
 * each one, which was measured to halve the throughput; on a longer way fewer and larger ones are better.
 */
const PAYLOAD = { unix: 256 * 1024, tcp: 1024 * 1024 } as const;
/** Several clients of a door at once; each of their calls is cut up further. */
const WRITERS = 8;
/** Bytes of one request to zero; an abort is heard between two. */
const ZERO_STEP = 128 * 1024 * 1024;
const ZEROS = Buffer.alloc(PAYLOAD.tcp);

/**
 * An NBD export as a Device. Throws what `NbdClient.open` throws, `not-found` when the
 * server has no such bitmap, `size-mismatch` when the export does not fit to `size`.
 */
export async function openNbdDevice(options: NbdDeviceOptions, signal?: AbortSignal): Promise<Device> {
  const { connections: most, bitmap } = options;
  const connections = await NbdConnections.open({ ...options, contexts: contextsFor(bitmap) }, most, signal);
  try {
    return new NbdDevice(connections, options);
  } catch (error) {
    await connections[Symbol.asyncDispose]();
    throw error;
  }
}

class NbdDevice implements Device {
  readonly size: number;
  readonly writable: boolean;
  readonly traits: DeviceTraits;
  readonly dirty: ((range: Range, signal?: AbortSignal) => AsyncIterable<DirtyExtent>) | undefined;
  readonly #connections: NbdConnections;
  readonly #client: NbdClient;
  readonly #allocation: Allocation;
  readonly #block: number;
  readonly #payload: number;
  readonly #depth: number;
  readonly #guard = new OverlapGuard();
  #zeroes: boolean;

  constructor(connections: NbdConnections, options: NbdDeviceOptions) {
    const client = connections.first;
    const { size, blocks } = client.export;
    this.size = options.size ?? size;
    if (this.size > size || size - this.size >= 512) throw wrongSize(this.size, size);
    this.writable = options.readOnly !== true && !client.can('readOnly');
    this.#connections = connections;
    this.#client = client;
    this.#allocation = new Allocation(client);
    this.#block = blocks.minimum;
    const most = Math.min(PAYLOAD[options.address.kind], blocks.maximum);
    this.#payload = most - (most % blocks.minimum);
    this.#depth = options.depth ?? DEPTH;
    this.#zeroes = client.can('writeZeroes');
    this.traits = {
      zero: this.#zeroes ? 'native' : 'emulated',
      unmap: this.#zeroes && client.can('trim') ? 'native' : 'none',
      extents: this.#allocation.known ? 'native' : 'none',
      writers: WRITERS,
    };
    this.dirty = options.bitmap === undefined ? undefined : this.#allocation.dirty(options.bitmap);
  }

  async read(into: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    checkInside(offset, into.length, this.size);
    const read = async (part: Range) => {
      const target = into.subarray(part.offset - offset, rangeEnd(part) - offset);
      const whole = this.#widened(part);
      if (whole.length === part.length) return this.#readFrom(target, part.offset, signal);
      const blocks = await this.#readBlocks(whole, signal);
      target.set(blocks.subarray(part.offset - whole.offset, rangeEnd(part) - whole.offset));
    };
    await this.#connections.during(() => this.#each({ offset, length: into.length }, this.#payload, read));
  }

  async write(from: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    this.#check({ offset, length: from.length });
    const write = (part: Range) =>
      this.#writePart(from.subarray(part.offset - offset, rangeEnd(part) - offset), part.offset, signal);
    await this.#connections.during(() => this.#each({ offset, length: from.length }, this.#payload, write));
  }

  async zero(range: Range, signal?: AbortSignal): Promise<void> {
    this.#check(range);
    for (const part of this.#cuts(range, ZERO_STEP)) {
      signal?.throwIfAborted();
      const offset = Math.ceil(part.offset / this.#block) * this.#block;
      const end = rangeEnd(part) - (rangeEnd(part) % this.#block);
      if (offset >= end) {
        await this.#writeZeros(part, signal);
        continue;
      }
      await this.#writeZeros({ offset: part.offset, length: offset - part.offset }, signal);
      await this.#zeroBlocks({ offset, length: end - offset }, signal);
      await this.#writeZeros({ offset: end, length: rangeEnd(part) - end }, signal);
    }
  }

  /** A server that offers no flush promises nothing, and there is nothing that could be asked of it. */
  async flush(signal?: AbortSignal): Promise<void> {
    if (this.writable && this.#client.can('flush')) await this.#client.flush(signal);
  }

  extents(range: Range, signal?: AbortSignal): AsyncIterable<DeviceExtent> {
    checkInside(range.offset, range.length, this.size);
    return this.#allocation.extents(range, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections[Symbol.asyncDispose]();
  }

  #check({ offset, length }: Range): void {
    checkInside(offset, length, this.size);
    if (this.writable) return;
    throw new HawserError('forbidden', 'This NBD export is open for reading only. Open it for writing.');
  }

  /** Several parts side by side. After a failure nothing more is begun, and what was begun is awaited. */
  async #each(range: Range, step: number, work: (part: Range) => Promise<void>): Promise<void> {
    const parts = this.#cuts(range, step);
    const failures: unknown[] = [];
    const lane = async () => {
      for (let next = parts.next(); next.done !== true && failures.length === 0; next = parts.next()) {
        await work(next.value).catch((error: unknown) => failures.push(error));
      }
    };
    const lanes = Math.min(this.#depth, Math.ceil(range.length / step) + 1);
    await Promise.all(Array.from({ length: lanes }, lane));
    if (failures.length > 0) throw failures[0];
  }

  /** Only the first and the last part are no whole blocks. */
  *#cuts({ offset, length }: Range, step: number): Generator<Range, undefined> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const next = Math.min(end, at - (at % this.#block) + step);
      yield { offset: at, length: next - at };
      at = next;
    }
    return undefined;
  }

  #widened({ offset, length }: Range): Range {
    const start = offset - (offset % this.#block);
    return { offset: start, length: Math.ceil((offset + length - start) / this.#block) * this.#block };
  }

  async #writePart(from: Buffer, offset: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#block === 1) return this.#writeTo(from, offset, signal);
    const whole = this.#widened({ offset, length: from.length });
    const aligned = whole.length === from.length;
    await this.#guard.hold(whole, !aligned, async () => {
      if (aligned) return this.#writeTo(from, offset, signal);
      const blocks = await this.#readBlocks(whole, signal);
      blocks.set(from, offset - whole.offset);
      await this.#writeTo(blocks, whole.offset, signal);
    });
  }

  #readFrom(into: Buffer, offset: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#connections.use((client) => client.read(into, offset, signal));
  }

  #writeTo(from: Buffer, offset: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#connections.use((client) => client.write(from, offset, {}, signal));
  }

  async #readBlocks(whole: Range, signal: AbortSignal | undefined): Promise<Buffer> {
    const blocks = Buffer.allocUnsafe(whole.length);
    await this.#readFrom(blocks, whole.offset, signal);
    return blocks;
  }

  async #zeroBlocks(blocks: Range, signal: AbortSignal | undefined): Promise<void> {
    if (this.#zeroes) {
      try {
        return await this.#guard.hold(blocks, false, () => this.#client.zero(blocks, {}, signal));
      } catch (error) {
        if (!isRefusal(error)) throw error;
        this.#zeroes = false;
      }
    }
    await this.#writeZeros(blocks, signal);
  }

  async #writeZeros(range: Range, signal: AbortSignal | undefined): Promise<void> {
    await this.#each(range, this.#payload, (part) =>
      this.#writePart(ZEROS.subarray(0, part.length), part.offset, signal),
    );
  }
}

function wrongSize(wanted: number, found: number): HawserError {
  return new HawserError(
    'size-mismatch',
    `The NBD export has ${found} bytes, ${wanted} were expected. See that the right export is served.`,
    { details: { wanted, found } },
  );
}
