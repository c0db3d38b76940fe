import fc from 'fast-check';
import type { BlockWriter } from '../../src/stores/store.ts';
import { checkExtents, type Declare, expectBytes, expectCode, type Given, pattern, readBack } from './store-content.ts';

/** Where things happen: offsets around page, block and write boundaries find more than even ones. */
const LARGEST = 512 * 1024;
const offsets = fc.oneof(
  fc.integer({ min: 0, max: LARGEST }),
  fc
    .tuple(fc.integer({ min: 0, max: 128 }), fc.integer({ min: -1, max: 1 }))
    .map(([n, d]) => Math.max(0, n * 4096 + d)),
);
const lengths = fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 200_000 }));

const steps = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('write' as const), offset: offsets, length: lengths, seed: fc.nat(1000) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('zero' as const), offset: offsets, length: lengths }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('read' as const), offset: offsets, length: lengths }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('resize' as const), size: offsets }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
);
type Step = typeof steps extends fc.Arbitrary<infer T> ? T : never;

/** What an object should hold, as plainly as can be. */
class Model {
  readonly #bytes = new Uint8Array(2 * LARGEST);
  size: number;

  constructor(size: number) {
    this.size = size;
  }

  get content(): Uint8Array {
    return this.#bytes.subarray(0, this.size);
  }

  put(bytes: Uint8Array, offset: number): void {
    this.#bytes.set(bytes, offset);
    if (bytes.length > 0) this.size = Math.max(this.size, offset + bytes.length);
  }

  resize(size: number): void {
    this.#bytes.fill(0, size);
    this.size = size;
  }
}

/** Random sequences, alone and side by side, compared with a plain array. */
export function modelTests(test: Declare, given: Given, runs: number): void {
  test('any sequence of operations leaves what a plain array would hold', async () => {
    const { store } = await given();
    let serial = 0;
    const property = fc.asyncProperty(
      fc.option(offsets, { nil: undefined }),
      fc.array(steps, { maxLength: 20 }),
      fc.option(offsets, { nil: undefined }),
      async (size, sequence, sealed) => {
        const key = `k${serial++}`;
        let writer = await store.create(size === undefined ? { key } : { key, size });
        const model = new Model(size ?? 0);
        for (const step of sequence) {
          if (step.kind === 'reopen') {
            await writer[Symbol.asyncDispose]();
            writer = await store.reopen(key);
          } else {
            await perform(step, writer, model);
          }
        }
        expectBytes(await readBack(writer, 0, model.size), model.content);
        model.resize(sealed ?? model.size);
        await writer.seal(model.size);
        await writer[Symbol.asyncDispose]();
        await using reader = await store.open(key);
        expectBytes(await readBack(reader, 0, reader.size), model.content);
        const extents = [];
        for await (const extent of reader.extents({ offset: 0, length: reader.size })) extents.push(extent);
        checkExtents(extents, { offset: 0, end: reader.size }, model.content);
        await store.remove(key);
      },
    );
    await fc.assert(property, { numRuns: runs });
  });

  test('operations that do not overlap may run side by side in any order', async () => {
    const { store } = await given();
    let serial = 0;
    const piece = fc.record({ zero: fc.boolean(), length: fc.integer({ min: 1, max: 40_000 }), order: fc.nat() });
    const property = fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 20 }), async (pieces) => {
      const key = `p${serial++}`;
      await using writer = await store.create({ key });
      const model = new Model(0);
      let offset = 0;
      const moves = pieces.map(({ zero, length, order }, i) => {
        const bytes = zero ? new Uint8Array(length) : pattern(length, i + 1);
        const at = offset;
        offset += length;
        model.put(bytes, at);
        return { order, run: () => (zero ? writer.zero({ offset: at, length }) : writer.write(bytes, at)) };
      });
      moves.sort((a, b) => a.order - b.order);
      await Promise.all(moves.map(({ run }) => run()));
      expectBytes(await readBack(writer, 0, model.size), model.content);
      await writer.discard();
    });
    await fc.assert(property, { numRuns: runs });
  });
}

async function perform(step: Exclude<Step, { kind: 'reopen' }>, writer: BlockWriter, model: Model): Promise<void> {
  switch (step.kind) {
    case 'write': {
      const bytes = pattern(step.length, step.seed);
      await writer.write(bytes, step.offset);
      return model.put(bytes, step.offset);
    }
    case 'zero':
      await writer.zero(step);
      return model.put(new Uint8Array(step.length), step.offset);
    case 'read': {
      const { offset, length } = step;
      if (offset + length > model.size) return expectCode('out-of-range', writer.read(new Uint8Array(length), offset));
      return expectBytes(await readBack(writer, offset, length), model.content.subarray(offset, offset + length));
    }
    case 'resize':
      await writer.resize(step.size);
      return model.resize(step.size);
    case 'flush':
      return writer.flush();
  }
}
