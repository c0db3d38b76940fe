import { leafCount, TREE_BLOCK } from '../core/digest.ts';
import { cutAt, intersect, type Range, RangeSet, rangeEnd } from '../core/range.ts';
import { LeafList } from './tree-digest.ts';
import type { JournalRecord, UploadJournal } from './upload-journal.ts';

/** A part of a block that is not complete, with the SHA-256 of exactly these bytes. */
export interface Fragment extends Range {
  readonly digest: Buffer;
}

/**
 * What an Upload has acknowledged, in memory: ranges only, so that it grows with gaps and not with
 * size. Digests stay in the journal and are read from there when somebody wants them.
 */
export class Received {
  /** Data and zeros alike. */
  readonly all = new RangeSet();
  readonly zeros = new RangeSet();
  /** Blocks whose leaf is in the journal, as ranges of bytes. */
  readonly #leaves = new RangeSet();

  static async replay(journal: UploadJournal): Promise<Received> {
    const received = new Received();
    for await (const record of journal.records()) received.apply(record);
    return received;
  }

  apply(record: JournalRecord): void {
    switch (record.kind) {
      case 'data':
        this.all.add(record);
        this.zeros.remove(record);
        if (record.offset % TREE_BLOCK === 0) this.#leaves.add(record);
        break;
      case 'zero':
        this.all.add(record);
        this.zeros.add(record);
        break;
      case 'leaf':
        this.#leaves.add(record);
        break;
      case 'discard':
        this.all.remove(record);
        this.zeros.remove(record);
        this.#leaves.remove(blocksAround(record));
        break;
      case 'sync':
      case 'doubt':
        break;
    }
  }

  /** Whether the journal can tell the leaf of this block: it came whole, was put together, or is all zeros. */
  hasLeaf(block: Range): boolean {
    return this.#leaves.contains(block) || this.zeros.contains(block);
  }

  /** How far it reaches. */
  get end(): number {
    let end = 0;
    for (const range of this.all) end = rangeEnd(range);
    return end;
  }
}

/**
 * The leaves that the journal knows for content of `size` bytes, and the fragments of blocks that are
 * not complete. One pass over the journal.
 */
export async function readLeaves(
  journal: UploadJournal,
  received: Received,
  size: number,
  window: { readonly first: number; readonly count: number } = { first: 0, count: leafCount(size) },
): Promise<{ readonly leaves: LeafList; readonly fragments: readonly Fragment[] }> {
  const leaves = new LeafList(size, window);
  for (const range of received.zeros) leaves.setZeros(range.offset, rangeEnd(range));
  let fragments: Fragment[] = [];
  const isOpen = (piece: Range) => !received.hasLeaf(blockOf(piece, size));
  for await (const record of journal.records()) {
    if (record.kind === 'discard') {
      leaves.forget(record.offset, rangeEnd(record));
      fragments = fragments.filter((piece) => !overlaps(piece, record));
      for (const range of received.zeros.inside(blocksAround(record))) leaves.setZeros(range.offset, rangeEnd(range));
    } else if (record.kind === 'data' || record.kind === 'leaf') {
      const index = record.offset / TREE_BLOCK;
      if (Number.isInteger(index) && record.length === Math.min(TREE_BLOCK, size - record.offset)) {
        leaves.set(index, record.digest);
      } else if (record.kind === 'data' && isOpen(record)) {
        fragments.push({ offset: record.offset, length: record.length, digest: record.digest });
      }
    }
  }
  return { leaves, fragments };
}

/** What a discard leaves of a record; the digest of data that was cut proves nothing, so that is discarded too. */
export function without(record: JournalRecord & Range, gone: Range): readonly (JournalRecord & Range)[] {
  if (intersect(record, gone) === undefined) return [record];
  const left = RangeSet.of([record]);
  left.remove(gone);
  const kind = record.kind === 'zero' ? 'zero' : 'discard';
  return [...left].map(({ offset, length }) => ({ kind, offset, length }));
}

/** The whole blocks of content of `size` bytes that `range` touches. */
export function* blocksOf(range: Range, size: number): Generator<Range> {
  for (const piece of cutAt(range, TREE_BLOCK)) yield blockOf(piece, size);
}

function blockOf(piece: Range, size: number): Range {
  const offset = Math.floor(piece.offset / TREE_BLOCK) * TREE_BLOCK;
  return { offset, length: Math.min(TREE_BLOCK, size - offset) };
}

function blocksAround(range: Range): Range {
  const offset = Math.floor(range.offset / TREE_BLOCK) * TREE_BLOCK;
  return { offset, length: Math.ceil(rangeEnd(range) / TREE_BLOCK) * TREE_BLOCK - offset };
}

function overlaps(a: Range, b: Range): boolean {
  return a.offset < rangeEnd(b) && b.offset < rangeEnd(a);
}
