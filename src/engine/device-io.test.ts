import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { ByteSource } from '../core/bytes.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Device } from '../stores/device.ts';
import { landOnDevice, sendFromDevice, zeroOnDevice } from './device-io.ts';
import { SlabPool } from './slab-pool.ts';

const MiB = 1024 * 1024;

/** A Device in memory whose writes are let through one by one. */
class Gate implements Device {
  readonly bytes: Buffer;
  readonly writable = true;
  readonly traits = { zero: 'native', unmap: 'native', extents: 'native', writers: 8 } as const;
  readonly waiting: { readonly offset: number; readonly go: (error?: Error) => void }[] = [];
  readonly zeroed: Range[] = [];
  reads = 0;
  open = false;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size, 'o');
  }

  get size(): number {
    return this.bytes.length;
  }

  async read(into: Buffer, offset: number): Promise<void> {
    this.reads += into.length;
    this.bytes.copy(into, 0, offset);
  }

  async write(from: Buffer, offset: number): Promise<void> {
    if (!this.open) {
      await new Promise<void>((resolve, reject) => {
        this.waiting.push({ offset, go: (error) => (error === undefined ? resolve() : reject(error)) });
      });
    }
    from.copy(this.bytes, offset);
  }

  async zero(range: Range): Promise<void> {
    this.zeroed.push(range);
    this.bytes.fill(0, Math.min(range.offset, this.size), Math.min(rangeEnd(range), this.size));
  }

  async flush(): Promise<void> {}

  async *extents({ offset, length }: Range) {
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, (Math.floor(at / MiB) + 1) * MiB);
      const zero = this.bytes.subarray(at, end).every((byte) => byte === 0);
      yield { offset: at, length: end - at, zero, hole: zero };
      at = end;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Pieces of 64 KiB, each spoiled once it has been taken; `sent` tells how far it is. */
function sourceOf(bytes: Buffer, failAfter = Number.POSITIVE_INFINITY): ByteSource & { sent: number } {
  const source = {
    sent: 0,
    async drain(take: (chunk: Uint8Array) => Promise<void> | undefined, signal: AbortSignal) {
      for (let at = 0; at < bytes.length; at += 65_536) {
        signal.throwIfAborted();
        if (at >= failAfter) throw new Error('cut');
        const chunk = Buffer.from(bytes.subarray(at, at + 65_536));
        source.sent = at + chunk.length;
        await take(chunk);
        chunk.fill(0xee);
      }
    },
  };
  return source;
}

const turns = async (count = 50) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};
const never = new AbortController().signal;

describe('landing', () => {
  test('writes a body where it belongs, cut at whole MiB', async () => {
    const device = new Gate(8 * MiB);
    device.open = true;
    const [content, slabs] = [randomBytes(5 * MiB + 77), new SlabPool(4)];
    let told = 0;
    await landOnDevice(
      {
        device,
        range: { offset: 12_345, length: content.length },
        means: { slabs },
        onBytes: (count) => (told += count),
        source: sourceOf(content),
        punch: false,
      },
      never,
    );
    expect(device.bytes.subarray(12_345, 12_345 + content.length).equals(content)).toBe(true);
    expect(device.bytes.subarray(0, 12_345).equals(Buffer.alloc(12_345, 'o'))).toBe(true);
    expect([told, slabs.inUse]).toEqual([content.length, 0]);
  });

  test('holds the source back while three writes are under way, and tells progress in order', async () => {
    const device = new Gate(16 * MiB);
    const [content, slabs] = [randomBytes(16 * MiB), new SlabPool(8)];
    const source = sourceOf(content);
    const told: number[] = [];
    const landed = landOnDevice(
      {
        device,
        range: { offset: 0, length: 16 * MiB },
        means: { slabs },
        onBytes: (n) => told.push(n),
        source,
        punch: false,
      },
      never,
    );
    await turns(200);
    expect(device.waiting.map(({ offset }) => offset)).toEqual([0, MiB, 2 * MiB]);
    expect(source.sent).toBeLessThanOrEqual(3 * MiB + 65_536);
    device.waiting[1]?.go();
    await turns();
    expect(told).toEqual([]);
    device.waiting[0]?.go();
    await turns();
    expect(told).toEqual([MiB, MiB]);
    device.open = true;
    for (const { go } of device.waiting) go();
    await landed;
    expect(device.bytes.equals(content)).toBe(true);
    expect(slabs.inUse).toBe(0);
  });

  test('a source that breaks off leaves what came, and says how much was missing when it only ends', async () => {
    const device = new Gate(4 * MiB);
    device.open = true;
    const slabs = new SlabPool(4);
    const content = randomBytes(4 * MiB);
    const landing = {
      device,
      range: { offset: 0, length: 4 * MiB },
      means: { slabs },
      onBytes: () => {},
      punch: false,
    };
    const broken = { ...landing, source: sourceOf(content, 1.5 * MiB) };
    await expect(landOnDevice(broken, never)).rejects.toThrow('cut');
    expect(device.bytes.subarray(0, 1.5 * MiB).equals(content.subarray(0, 1.5 * MiB))).toBe(true);
    const short = { ...landing, source: sourceOf(content.subarray(0, 100)) };
    await expect(landOnDevice(short, never)).rejects.toThrow('Requested 4194304 bytes, available 100 bytes');
    expect(slabs.inUse).toBe(0);
  });

  test('after an abort nothing more is written', async () => {
    const device = new Gate(8 * MiB);
    const slabs = new SlabPool(8);
    const stop = new AbortController();
    const landed = landOnDevice(
      {
        device,
        range: { offset: 0, length: 8 * MiB },
        means: { slabs },
        onBytes: () => {},
        source: sourceOf(randomBytes(8 * MiB)),
        punch: false,
      },
      stop.signal,
    );
    await turns(200);
    stop.abort(new Error('enough'));
    await turns();
    for (const { go } of device.waiting) go();
    await expect(landed).rejects.toThrow('enough');
    expect(device.waiting).toHaveLength(3);
    expect(slabs.inUse).toBe(0);
  });

  test('bodies for a Device that hangs keep one slab each where there are few', async () => {
    const [device, healthy] = [new Gate(64 * MiB), new Gate(4 * MiB)];
    const slabs = new SlabPool(8);
    const stop = new AbortController();
    const land = (to: Gate, offset: number, signal: AbortSignal) =>
      landOnDevice(
        {
          device: to,
          range: { offset, length: 4 * MiB },
          means: { slabs },
          onBytes: () => {},
          source: sourceOf(Buffer.alloc(4 * MiB, 'h')),
          punch: false,
        },
        signal,
      );
    const hung = Array.from({ length: 5 }, (_, i) => land(device, i * 4 * MiB, stop.signal));
    while (device.waiting.length < 5) await new Promise((resolve) => setImmediate(resolve));
    healthy.open = true;
    await land(healthy, 0, new AbortController().signal);
    expect(healthy.bytes.equals(Buffer.alloc(4 * MiB, 'h'))).toBe(true);
    stop.abort(new Error('enough'));
    device.open = true;
    for (const { go } of device.waiting) go();
    expect((await Promise.allSettled(hung)).map(({ status }) => status)).toEqual(hung.map(() => 'rejected'));
    expect(slabs.inUse).toBe(0);
  });

  test('a write that fails is what it fails with', async () => {
    const device = new Gate(8 * MiB);
    const slabs = new SlabPool(8);
    const landed = landOnDevice(
      {
        device,
        range: { offset: 0, length: 8 * MiB },
        means: { slabs },
        onBytes: () => {},
        source: sourceOf(randomBytes(8 * MiB)),
        punch: false,
      },
      never,
    );
    await turns(200);
    device.waiting[0]?.go(new Error('no space'));
    for (const { go } of device.waiting.slice(1)) go();
    await expect(landed).rejects.toThrow('no space');
    expect(slabs.inUse).toBe(0);
  });

  test('zeros become holes when that is wanted', async () => {
    const device = new Gate(4 * MiB);
    device.open = true;
    const content = Buffer.concat([Buffer.alloc(MiB, 'a'), Buffer.alloc(2 * MiB), Buffer.alloc(MiB, 'b')]);
    const landing = {
      device,
      range: { offset: 0, length: 4 * MiB },
      means: { slabs: new SlabPool(4) },
      onBytes: () => {},
    };
    await landOnDevice({ ...landing, source: sourceOf(content), punch: true }, never);
    expect(device.zeroed).toEqual([
      { offset: MiB, length: MiB },
      { offset: 2 * MiB, length: MiB },
    ]);
    expect(device.bytes.equals(content)).toBe(true);
    await landOnDevice({ ...landing, source: sourceOf(content), punch: false }, never);
    expect(device.zeroed).toHaveLength(2);
  });
});

test('sending reads data only', async () => {
  const device = new Gate(8 * MiB);
  device.bytes.fill(0, 2 * MiB, 7 * MiB);
  const slabs = new SlabPool(8);
  const got: Buffer[] = [];
  const sink = { write: async (chunk: Uint8Array) => void got.push(Buffer.from(chunk)) };
  const range = { offset: 100, length: 8 * MiB - 200 };
  await sendFromDevice({ device, range, means: { slabs }, onBytes: () => {} }, sink, never);
  expect(Buffer.concat(got).equals(device.bytes.subarray(100, 8 * MiB - 100))).toBe(true);
  expect(device.reads).toBe(3 * MiB - 200);
  expect(slabs.inUse).toBe(0);
});

test('zeroing goes in steps, and ends between two', async () => {
  const device = new Gate(0);
  const stop = new AbortController();
  const told: number[] = [];
  const onBytes = (count: number) => {
    told.push(count);
    if (told.length === 2) stop.abort(new Error('enough'));
  };
  const range = { offset: 5, length: 1024 * MiB };
  await expect(
    zeroOnDevice({ device, range, means: { slabs: new SlabPool(1) }, onBytes }, stop.signal),
  ).rejects.toThrow('enough');
  expect(told).toEqual([128 * MiB - 5, 128 * MiB]);
});
