import { TREE_BLOCK } from '../core/digest.ts';
import { cutAt, intersect, type Range, rangeEnd } from '../core/range.ts';
import type { FileSource, SourceExtent } from './ports.ts';

/** A run of whole blocks (the last one of the source may be short). */
export type SourceCut =
  | { readonly kind: 'hole'; readonly range: Range }
  | {
      readonly kind: 'data';
      readonly range: Range;
      /** What must be read of it; the rest is holes. */
      readonly reads: readonly Range[];
    };

/**
 * Cuts `wanted` of the source into holes of any length and pieces of data that end at multiples of
 * `most`. A block with any data in it is data. `wanted` is widened to whole blocks.
 */
export async function* cutSource(source: FileSource, wanted: Range, most: number): AsyncGenerator<SourceCut> {
  if (wanted.length <= 0) return;
  const whole = wholeBlocks(wanted, source.size);
  let start = whole.offset;
  let reads: Range[] = [];
  for await (const extent of extentsOf(source, whole)) {
    if (extent.kind === 'data') {
      reads.push({ offset: extent.offset, length: extent.length });
      const sure = Math.floor(rangeEnd(extent) / most) * most;
      if (sure <= start) continue;
      yield* pieces({ offset: start, length: sure - start }, reads, most);
      reads = clip(reads, { offset: sure, length: rangeEnd(extent) - sure });
      start = sure;
      continue;
    }
    const from = reads.length === 0 ? start : Math.max(start, blockCeil(extent.offset));
    const to = rangeEnd(extent) >= source.size ? source.size : blockFloor(rangeEnd(extent));
    if (to <= from) continue;
    if (from > start) yield* pieces({ offset: start, length: from - start }, reads, most);
    yield { kind: 'hole', range: { offset: from, length: to - from } };
    start = to;
    reads = [];
  }
  const rest = { offset: start, length: rangeEnd(whole) - start };
  if (rest.length <= 0) return;
  if (reads.length === 0) yield { kind: 'hole', range: rest };
  else yield* pieces(rest, reads, most);
}

/** The range widened to whole blocks, not beyond `size`. */
export function wholeBlocks(range: Range, size: number): Range {
  const offset = blockFloor(range.offset);
  return { offset, length: Math.min(size, blockCeil(rangeEnd(range))) - offset };
}

/** Fills `into` with what `range` of the source holds: reads the data, clears the rest. */
export async function readCut(
  source: FileSource,
  cut: { readonly range: Range; readonly reads: readonly Range[] },
  into: Uint8Array,
): Promise<void> {
  let at = cut.range.offset;
  const base = cut.range.offset;
  for (const read of cut.reads) {
    into.fill(0, at - base, read.offset - base);
    await source.read(into.subarray(read.offset - base, rangeEnd(read) - base), read.offset);
    at = rangeEnd(read);
  }
  into.fill(0, at - base, cut.range.length);
}

function* pieces(range: Range, reads: readonly Range[], most: number): Generator<SourceCut> {
  let rest = reads;
  for (const piece of cutAt(range, most)) {
    yield { kind: 'data', range: piece, reads: clip(rest, piece) };
    rest = clip(rest, { offset: rangeEnd(piece), length: rangeEnd(range) - rangeEnd(piece) });
  }
}

function clip(ranges: readonly Range[], within: Range): Range[] {
  return ranges.map((range) => intersect(range, within)).filter((range) => range !== undefined);
}

async function* extentsOf(source: FileSource, range: Range): AsyncGenerator<SourceExtent> {
  if (source.extents === undefined) yield { kind: 'data', ...range };
  else yield* source.extents(range);
}

function blockFloor(offset: number): number {
  return Math.floor(offset / TREE_BLOCK) * TREE_BLOCK;
}

function blockCeil(offset: number): number {
  return Math.ceil(offset / TREE_BLOCK) * TREE_BLOCK;
}
