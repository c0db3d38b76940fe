import { blockLength, leafCount, TREE_BLOCK } from '../core/digest.ts';
import { cutAt, type Range, RangeSet, rangeEnd } from '../core/range.ts';
import type { BlockReader } from '../stores/store.ts';
import type { FlatAlgorithm, HashPool } from './hash-pool.ts';
import type { SlabPool } from './slab-pool.ts';
import { zeroLeafOf } from './tree-digest.ts';

const IN_FLIGHT = 3;

export interface ScanMeans {
  readonly slabs: SlabPool;
  readonly hashes: HashPool;
  readonly reader: BlockReader;
  /** Called after every stretch; awaited, so that a pause can hold it. Bytes done so far. */
  readonly onProgress: (doneBytes: number) => Promise<void> | undefined;
}

/**
 * Reads everything that is data and compares each block with its leaf; holes are compared without
 * reading. Returns the damaged blocks, merged. `leaves` are 32 bytes each, in order.
 */
export async function verifyBlocks(means: ScanMeans, leaves: Buffer, signal: AbortSignal): Promise<readonly Range[]> {
  const { reader } = means;
  const damaged = new RangeSet();
  const holes = new RangeSet();
  for await (const extent of reader.extents({ offset: 0, length: reader.size })) {
    if (extent.kind === 'hole') holes.add(extent);
  }
  const flying = new Set<Promise<void>>();
  let failure: unknown;
  for (let index = 0; index < leafCount(reader.size) && failure === undefined; index++) {
    signal.throwIfAborted();
    const block = { offset: index * TREE_BLOCK, length: blockLength(reader.size, index) };
    const wanted = leaves.subarray(index * 32, index * 32 + 32);
    if (holes.contains(block)) {
      if (!zeroLeafOf(block.length).equals(wanted)) damaged.add(block);
      if (index % 4096 === 0) await means.onProgress(rangeEnd(block));
      continue;
    }
    const flight = leafOf(means, block, signal)
      .then((found) => {
        if (!found.equals(wanted)) damaged.add(block);
      })
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => flying.delete(flight));
    flying.add(flight);
    if (flying.size >= IN_FLIGHT) await Promise.race(flying);
    await means.onProgress(block.offset);
  }
  await Promise.all(flying);
  if (failure !== undefined) throw failure;
  await means.onProgress(reader.size);
  return [...damaged];
}

/** A flat digest over all of it, in order; hex. */
export async function flatDigest(means: ScanMeans, algorithm: FlatAlgorithm, signal: AbortSignal): Promise<string> {
  const stream = means.hashes.stream(algorithm);
  try {
    let before: Promise<void> = Promise.resolve();
    for await (const extent of means.reader.extents({ offset: 0, length: means.reader.size })) {
      for (const piece of cutAt(extent, extent.kind === 'hole' ? 64 * TREE_BLOCK : TREE_BLOCK)) {
        signal.throwIfAborted();
        if (extent.kind === 'hole') {
          await before;
          before = stream.zeros(piece.length);
        } else {
          const slab = await means.slabs.acquire(signal);
          try {
            await means.reader.read(slab.bytes.subarray(0, piece.length), piece.offset);
            await before;
          } catch (error) {
            means.slabs.release(slab);
            throw error;
          }
          before = stream.update(slab, 0, piece.length).finally(() => means.slabs.release(slab));
        }
        await means.onProgress(piece.offset);
      }
    }
    await before;
    const digest = await stream.digest();
    await means.onProgress(means.reader.size);
    return digest.toString('hex');
  } finally {
    stream.drop();
  }
}

async function leafOf(means: ScanMeans, block: Range, signal: AbortSignal): Promise<Buffer> {
  const slab = await means.slabs.acquire(signal);
  try {
    await means.reader.read(slab.bytes.subarray(0, block.length), block.offset);
    return await means.hashes.leaf(slab, 0, block.length);
  } finally {
    means.slabs.release(slab);
  }
}
