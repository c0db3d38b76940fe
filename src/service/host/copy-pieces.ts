import { TREE_BLOCK } from '../../core/digest.ts';
import { cutAt, type Range, rangeEnd } from '../../core/range.ts';
import type { Extent } from '../../stores/store.ts';
import type { ExtentPage } from './ports.ts';

/** Bytes of one request: each costs both ends about two milliseconds. */
const PIECE = 64 * TREE_BLOCK;

export interface Piece extends Range {
  readonly kind: 'data' | 'zeros';
}

/**
 * What there is to fetch of content of `size` bytes, in order: whole blocks. A block with any data is
 * data, so each one that is fetched has its leaf; zeros are blocks without any, however many.
 */
export async function* copyPieces(pages: AsyncIterable<ExtentPage>, size: number): AsyncGenerator<Piece> {
  let cursor = 0;
  for await (const { extents } of pages) {
    for (const extent of extents) {
      for (const piece of inBlocks(extent, size, cursor)) {
        cursor = rangeEnd(piece);
        yield piece;
      }
    }
  }
}

function* inBlocks(extent: Extent, size: number, cursor: number): Generator<Piece> {
  const end = rangeEnd(extent);
  if (extent.kind === 'hole') {
    const from = up(extent.offset);
    const to = end >= size ? size : down(end);
    if (to > from) yield { kind: 'zeros', offset: from, length: to - from };
    return;
  }
  const from = Math.max(cursor, down(extent.offset));
  const to = Math.min(size, up(end));
  if (to > from)
    for (const piece of cutAt({ offset: from, length: to - from }, PIECE)) yield { kind: 'data', ...piece };
}

function down(offset: number): number {
  return Math.floor(offset / TREE_BLOCK) * TREE_BLOCK;
}

function up(offset: number): number {
  return Math.ceil(offset / TREE_BLOCK) * TREE_BLOCK;
}
