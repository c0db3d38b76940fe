import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Range } from '../../src/core/range.ts';
import type { Device, DeviceExtent } from '../../src/stores/device.ts';
import { collect, type Declare, expectBytes, expectCode, MiB, pattern } from './store-content.ts';

/** A Device of `size` bytes of zeros made for one test. */
export interface DevicePlace extends AsyncDisposable {
  readonly device: Device;
  /** The same bytes once more, after the first was closed. */
  reopen(options?: { readonly writable: boolean }): Promise<Device>;
}

export interface DeviceSuite {
  readonly test?: Declare;
  readonly size?: number;
  readonly make: (size: number) => Promise<DevicePlace>;
  /** Random sequences. */
  readonly runs?: number;
}

const SIZE = 8 * MiB;

/** Every promise of src/stores/device.ts as a test. */
export function deviceConformance(
  name: string,
  { test: declare = test, size = SIZE, make, runs = 20 }: DeviceSuite,
): void {
  const given = (body: (place: DevicePlace, device: Device) => Promise<void>) => async () => {
    await using place = await make(size);
    await body(place, place.device);
  };

  describe(`Device: ${name}`, () => {
    declare(
      'has its size, and reads zeros where nobody wrote',
      given(async (_place, device) => {
        expect(device.size).toBe(size);
        expect(device.writable).toBe(true);
        expectBytes(await readOf(device, { offset: 0, length: size }), Buffer.alloc(size));
      }),
    );

    declare(
      'what is written is read, at any offset and of any length, also after flush and reopen',
      given(async (place, device) => {
        const model = Buffer.alloc(size);
        for (const [offset, length] of [
          [0, 1],
          [511, 2],
          [4095, 4098],
          [MiB - 3, 3 * MiB + 7],
          [size - 1, 1],
          [size - 5000, 4999],
          [1000, 0],
        ] as const) {
          const bytes = Buffer.from(pattern(length, offset + 1));
          bytes.copy(model, offset);
          await device.write(bytes, offset);
          expectBytes(await readOf(device, { offset, length }), bytes);
        }
        await device.flush();
        expectBytes(await readOf(device, { offset: 0, length: size }), model);
        await device[Symbol.asyncDispose]();
        await using again = await place.reopen();
        expectBytes(await readOf(again, { offset: 0, length: size }), model);
      }),
    );

    declare(
      'a zeroed range reads as zeros, and its neighbours stay',
      given(async (_place, device) => {
        const model = Buffer.from(pattern(size, 3));
        await device.write(model, 0);
        for (const [offset, length] of [
          [100, 10],
          [4096, 8192],
          [MiB + 1, 2 * MiB + 2],
          [size - 777, 777],
          [5 * MiB, 0],
        ] as const) {
          await device.zero({ offset, length });
          model.fill(0, offset, offset + length);
        }
        expectBytes(await readOf(device, { offset: 0, length: size }), model);
      }),
    );

    declare(
      'neighbours that are written at once, each with edges inside of blocks, are all there',
      given(async (_place, device) => {
        const step = 12_345;
        const model = Buffer.from(pattern(step * 40, 9));
        await Promise.all(
          Array.from({ length: 40 }, async (_, i) => {
            const [from, to] = [i * step, (i + 1) * step];
            await device.write(model.subarray(from, to), from);
            if (i % 5 === 0) await device.zero({ offset: from + 5, length: step - 9 });
          }),
        );
        for (let i = 0; i < 40; i += 5) model.fill(0, i * step + 5, (i + 1) * step - 4);
        expectBytes(await readOf(device, { offset: 0, length: model.length }), model);
      }),
    );

    declare(
      'any sequence of writes, zeros and reads gives what a piece of memory gives',
      given(async (_place, device) => {
        const model = Buffer.alloc(size);
        const place = fc.record({ offset: fc.nat(size - 1), length: fc.oneof(fc.nat(20_000), fc.nat(2 * MiB)) });
        const step = fc.record({ kind: fc.constantFrom('write', 'zero', 'read'), place, seed: fc.nat(250) });
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
            for (const { kind, place, seed } of steps) {
              const range = { offset: place.offset, length: Math.min(place.length, size - place.offset) };
              const end = range.offset + range.length;
              if (kind === 'zero') {
                await device.zero(range);
                model.fill(0, range.offset, end);
              } else if (kind === 'write') {
                model.set(pattern(range.length, seed), range.offset);
                await device.write(model.subarray(range.offset, end), range.offset);
              } else {
                expectBytes(await readOf(device, range), model.subarray(range.offset, end));
              }
            }
            checkExtents(
              await collect(device.extents({ offset: 0, length: size })),
              { offset: 0, length: size },
              model,
            );
          }),
          { numRuns: runs, endOnFailure: true },
        );
      }),
    );

    declare(
      'reads and writes of shared memory, several at once',
      given(async (_place, device) => {
        const shared = Buffer.from(new SharedArrayBuffer(4 * MiB));
        shared.set(pattern(4 * MiB, 21));
        await Promise.all([0, 1, 2, 3].map((i) => device.write(shared.subarray(i * MiB, (i + 1) * MiB), i * MiB + 3)));
        const into = Buffer.from(new SharedArrayBuffer(4 * MiB));
        await Promise.all([0, 1, 2, 3].map((i) => device.read(into.subarray(i * MiB, (i + 1) * MiB), i * MiB + 3)));
        expectBytes(into, shared);
      }),
    );

    declare(
      'extents come in order and without gaps; a zeroed range is one of zeros where the Device can tell',
      given(async (_place, device) => {
        const model = Buffer.alloc(size);
        model.set(pattern(2 * MiB, 5), MiB);
        model.set(pattern(MiB, 6), size - MiB);
        await device.write(model.subarray(MiB, 3 * MiB), MiB);
        await device.write(model.subarray(size - MiB), size - MiB);
        await device.zero({ offset: 2 * MiB, length: 512 * 1024 });
        model.fill(0, 2 * MiB, 2 * MiB + 512 * 1024);
        await device.flush();
        for (const range of [
          { offset: 0, length: size },
          { offset: 12_345, length: 2 * MiB + 1 },
          { offset: 2 * MiB + 1, length: 77 },
          { offset: size, length: 0 },
        ]) {
          checkExtents(await collect(device.extents(range)), range, model);
        }
        if (device.traits.extents !== 'native') return;
        const zeros = (await collect(device.extents({ offset: 0, length: size }))).filter(({ zero }) => zero);
        // Makers of images allocate the first block of some.
        expect(zeros.some(({ offset }) => offset <= 4096)).toBe(true);
        const bytes = zeros.reduce((sum, { length }) => sum + length, 0);
        if (device.traits.unmap === 'native') expect(bytes).toBeGreaterThanOrEqual(size - 3 * MiB);
      }),
    );

    declare(
      'ranges outside are refused and change nothing',
      given(async (_place, device) => {
        const one = Buffer.alloc(2, 1);
        await expectCode(
          'out-of-range',
          attempt(() => device.write(one, size - 1)),
        );
        await expectCode(
          'out-of-range',
          attempt(() => device.read(one, size - 1)),
        );
        await expectCode(
          'out-of-range',
          attempt(() => device.read(one, -1)),
        );
        await expectCode(
          'out-of-range',
          attempt(() => device.zero({ offset: size - 1, length: 2 })),
        );
        await expectCode(
          'out-of-range',
          attempt(() => collect(device.extents({ offset: 0, length: size + 1 }))),
        );
        expectBytes(await readOf(device, { offset: size - 1, length: 1 }), Buffer.alloc(1));
      }),
    );

    declare(
      'opened for reading it reads and refuses to change',
      given(async (place, device) => {
        await device.write(Buffer.from('kept'), 10);
        await device.flush();
        await device[Symbol.asyncDispose]();
        await using reader = await place.reopen({ writable: false });
        expect(reader.writable).toBe(false);
        await expectCode(
          'forbidden',
          attempt(() => reader.write(Buffer.from('lost'), 10)),
        );
        await expectCode(
          'forbidden',
          attempt(() => reader.zero({ offset: 10, length: 4 })),
        );
        await reader.flush();
        expect((await readOf(reader, { offset: 10, length: 4 })).toString()).toBe('kept');
      }),
    );

    declare(
      'after an abort nothing is written, and the Device goes on',
      given(async (_place, device) => {
        const gone = AbortSignal.abort(new Error('gone'));
        await expect(attempt(() => device.write(Buffer.alloc(MiB, 1), 0, gone))).rejects.toThrow('gone');
        await expect(attempt(() => device.zero({ offset: 0, length: size }, gone))).rejects.toThrow('gone');
        await expect(attempt(() => device.read(Buffer.alloc(MiB), 0, gone))).rejects.toThrow('gone');
        expectBytes(await readOf(device, { offset: 0, length: MiB }), Buffer.alloc(MiB));

        const stop = new AbortController();
        const into = Buffer.alloc(size, 7);
        const late = [
          device.read(into, 0, stop.signal),
          device.write(Buffer.alloc(3 * MiB, 2), MiB, stop.signal),
          device.zero({ offset: 0, length: MiB }, stop.signal),
        ].map((work) => work.catch((error: unknown) => error));
        stop.abort(new Error('stop'));
        await Promise.all(late);
        into.fill(9);
        const settled = await readOf(device, { offset: 0, length: size });
        expectBytes(await readOf(device, { offset: 0, length: size }), settled);
        expectBytes(into, Buffer.alloc(size, 9));
        await device.write(Buffer.from('on'), 5);
        expect((await readOf(device, { offset: 5, length: 2 })).toString()).toBe('on');
      }),
    );

    declare(
      'once closed it does nothing more, and closing again succeeds',
      given(async (_place, device) => {
        await device[Symbol.asyncDispose]();
        await device[Symbol.asyncDispose]();
        for (const work of [() => device.read(Buffer.alloc(1), 0), () => device.write(Buffer.alloc(1), 0)]) {
          await expect(attempt(work)).rejects.toMatchObject({ name: 'HawserError' });
        }
      }),
    );
  });
}

async function readOf(device: Device, { offset, length }: Range): Promise<Buffer> {
  const into = Buffer.alloc(length, 0xee);
  await device.read(into, offset);
  return into;
}

/** Whether it throws or rejects is left to the Device. */
async function attempt<T>(work: () => Promise<T>): Promise<T> {
  return work();
}

function checkExtents(extents: readonly DeviceExtent[], range: Range, content: Buffer): void {
  let at = range.offset;
  for (const { offset, length, zero } of extents) {
    expect(offset).toBe(at);
    expect(length).toBeGreaterThan(0);
    if (zero) expectBytes(content.subarray(offset, offset + length), Buffer.alloc(length));
    at += length;
  }
  expect(at).toBe(range.offset + range.length);
}
