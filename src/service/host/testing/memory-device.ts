import type { Range } from '../../../core/range.ts';
import type { Device } from '../../../stores/device.ts';
import { checkInside } from '../../../stores/key.ts';
import type { OpenedDevice } from '../ticket-ports.ts';

/** A Device in memory whose writes can be held, for tests of what stands on one. */
export class MemoryDevice implements Device {
  readonly bytes: Buffer;
  readonly writable = true;
  readonly traits = { zero: 'native', unmap: 'native', extents: 'none', writers: 8 } as const;
  reads = 0;
  flushes = 0;
  closed = false;
  /** Writes wait for it, and look at no signal. */
  held: Promise<void> = Promise.resolve();

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  get size(): number {
    return this.bytes.length;
  }

  async read(into: Buffer, offset: number): Promise<void> {
    checkInside(offset, into.length, this.size);
    this.reads++;
    this.bytes.copy(into, 0, offset);
  }

  async write(from: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    checkInside(offset, from.length, this.size);
    await this.held;
    signal?.throwIfAborted();
    from.copy(this.bytes, offset);
  }

  async zero({ offset, length }: Range): Promise<void> {
    checkInside(offset, length, this.size);
    this.bytes.fill(0, offset, offset + length);
  }

  async flush(): Promise<void> {
    this.flushes++;
  }

  async *extents(range: Range) {
    yield { ...range, zero: false, hole: false };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true;
  }

  opened(): OpenedDevice {
    return {
      device: this,
      kind: 'file',
      fingerprint: async () => undefined,
      [Symbol.asyncDispose]: () => this[Symbol.asyncDispose](),
    };
  }
}
