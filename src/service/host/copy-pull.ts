import { blockLength, LEAF_BYTES, TREE_BLOCK } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';
import { inLanes } from '../../core/in-lanes.ts';
import { cutAt, type Range, RangeSet, rangeEnd } from '../../core/range.ts';
import { zeroLeafOf } from '../../engine/tree-digest.ts';
import type { JournalRecord } from '../../engine/upload-journal.ts';
import { copyPieces, type Piece } from './copy-pieces.ts';
import type { HostUpload } from './host-upload.ts';
import type { DistantCopy, ExtentPage } from './ports.ts';
import type { PullWork } from './pull.ts';
import { SourceLeaves } from './source-leaves.ts';
import { sizeMismatch } from './upload-refusals.ts';

/** Ranges of one call; a journal record each. */
const ZEROS_AT_ONCE = 1000;
/** Blocks whose digests are read from the journal at once. */
const LEAVES_AT_ONCE = 65_536;

export interface CopyPullParts {
  readonly upload: HostUpload;
  readonly copy: DistantCopy;
  readonly size: number;
  readonly treeDigest: string | null;
}

/**
 * Fetches an Upload's bytes from a Copy: holes as ranges of zeros, data in several requests at once, and
 * compares each block with the source's leaf as soon as its digest is known. A wrong block is forgotten
 * and fetched once more; when it is wrong again the source is `corrupt`.
 */
export class CopyPull implements PullWork {
  readonly #parts: CopyPullParts;
  /** Digests of whole blocks that passed and were not compared yet. */
  readonly #passed = new Map<number, Buffer>();
  /** Blocks that are what the source's leaves say. */
  readonly #checked = new RangeSet();
  readonly #fetchedAgain = new Set<number>();
  #leaves: { readonly known: SourceLeaves | undefined } | undefined;

  constructor(parts: CopyPullParts) {
    this.#parts = parts;
    parts.upload.onRecord = (record) => this.#note(record);
  }

  async attempt(signal: AbortSignal): Promise<void> {
    const { copy, size, treeDigest } = this.#parts;
    await this.#declare();
    if (this.#leaves === undefined) {
      this.#leaves = { known: await SourceLeaves.read(copy, { size, treeDigest }, signal) };
      await this.#compareReceived(signal);
    }
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const pieces = copyPieces(this.#pages(both), size);
    await inLanes(this.#wanted(pieces, both), copy.lanes, stop, (piece) => this.#fetch(piece, both));
    signal.throwIfAborted();
    await this.#checkRest(signal);
  }

  async #declare(): Promise<void> {
    const { upload, size } = this.#parts;
    const { declaredSize } = upload.record;
    if (declaredSize === null) await upload.setSize(size);
    else if (declaredSize !== size) throw sizeMismatch(declaredSize, size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#parts.upload.onRecord = () => {};
    await this.#parts.copy[Symbol.asyncDispose]();
  }

  async *#pages(signal: AbortSignal): AsyncGenerator<ExtentPage> {
    const { copy, size } = this.#parts;
    for (let from: number | null = 0; from !== null; ) {
      const page: ExtentPage = await copy.extents(from, signal);
      if (page.size !== size) {
        throw new HawserError(
          'source-changed',
          `The source has ${page.size} bytes, ${size} were expected. Fetch from a copy that is ready.`,
        );
      }
      mustFollow(from, page);
      yield page;
      from = page.next;
    }
  }

  /** Of the pieces, what is missing, in whole blocks; zeros are dealt with on the way. */
  async *#wanted(pieces: AsyncIterable<Piece>, signal: AbortSignal): AsyncGenerator<Range> {
    const { upload } = this.#parts;
    const zeros: Range[] = [];
    for await (const piece of pieces) {
      if (piece.kind === 'zeros') {
        await this.#checkHole(piece, signal);
        zeros.push(...upload.received.missing(piece));
        if (zeros.length >= ZEROS_AT_ONCE) await this.#zeros(zeros.splice(0));
      } else yield* this.#missingBlocks(piece);
    }
    if (zeros.length > 0) await this.#zeros(zeros);
  }

  /** These were compared as holes already: holes of one block must not pile up among what passed. */
  async #zeros(ranges: readonly Range[]): Promise<void> {
    await this.#parts.upload.zeros(ranges);
    for (const { offset } of ranges) this.#passed.delete(offset / TREE_BLOCK);
  }

  #missingBlocks(piece: Range): Iterable<Range> {
    const { size, upload } = this.#parts;
    const wanted = new RangeSet();
    for (const { offset, length } of upload.received.missing(piece)) {
      const from = Math.floor(offset / TREE_BLOCK) * TREE_BLOCK;
      const to = Math.min(size, Math.ceil((offset + length) / TREE_BLOCK) * TREE_BLOCK);
      wanted.add({ offset: from, length: to - from });
    }
    return wanted;
  }

  /** Fetches `range`, whole blocks, until they are right. */
  async #fetch(range: Range, signal: AbortSignal): Promise<void> {
    const { upload, copy } = this.#parts;
    let wanted: readonly Range[] = [range];
    while (wanted.length > 0) {
      for (const part of wanted) {
        // A cut leaves pieces of blocks; a block that is fetched as one needs no read to be compared.
        const pieces = [...upload.received.inside(part)];
        if (pieces.length > 0) await upload.discard(pieces);
        this.#checked.remove(part);
        const { offset, length } = part;
        const source = await copy.data(part, signal);
        await upload.receive({ offset, length, total: null }, source, signal);
      }
      wanted = await this.#comparePassed(wanted, signal);
    }
  }

  // ---- comparing

  /** What the journal has from before was not seen passing. */
  async #compareReceived(signal: AbortSignal): Promise<void> {
    const { upload, size } = this.#parts;
    const step = LEAVES_AT_ONCE * TREE_BLOCK;
    for (const window of cutAt({ offset: 0, length: size }, step)) {
      if (upload.received.missing(window).next().value?.length === window.length) continue;
      const first = window.offset / TREE_BLOCK;
      await this.#compareLeaves(first, Buffer.from(await upload.leaves(first, LEAVES_AT_ONCE)), signal);
    }
    // What was wrong is only missing now: it may have come from elsewhere.
    this.#fetchedAgain.clear();
  }

  /** Blocks that came in pieces (slabs were scarce, or it was cut): their leaves are put together now. */
  async #checkRest(signal: AbortSignal): Promise<void> {
    const { upload, size } = this.#parts;
    while (this.#leaves?.known !== undefined && this.#checked.bytes < size) {
      const leaves = await upload.wholeLeaves(size);
      for (let first = 0; first * LEAF_BYTES < leaves.length; first += LEAVES_AT_ONCE) {
        const window = leaves.subarray(first * LEAF_BYTES, (first + LEAVES_AT_ONCE) * LEAF_BYTES);
        for (const block of await this.#compareLeaves(first, window, signal)) await this.#fetch(block, signal);
      }
    }
  }

  /** A hole reads as zeros: where the leaves say otherwise the source has lost something. */
  async #checkHole(hole: Range, signal: AbortSignal): Promise<void> {
    const known = this.#leaves?.known;
    if (known === undefined) return;
    const index = await known.firstNotZero(hole, signal);
    if (index !== undefined) throw damaged(index, this.#block(index));
    this.#checked.add(hole);
  }

  /** `leaves` from block `first` on, all zero: not known. Forgets the blocks that are wrong and tells them. */
  async #compareLeaves(first: number, leaves: Buffer, signal: AbortSignal): Promise<readonly Range[]> {
    const count = leaves.length / LEAF_BYTES;
    for (let i = 0; i < count; i++) {
      const leaf = leaves.subarray(i * LEAF_BYTES, (i + 1) * LEAF_BYTES);
      const block = this.#block(first + i);
      if (!this.#checked.contains(block) && !leaf.every((byte) => byte === 0)) this.#passed.set(first + i, leaf);
    }
    return this.#comparePassed([{ offset: first * TREE_BLOCK, length: count * TREE_BLOCK }], signal);
  }

  /** Compares what passed within `ranges`; forgets what is wrong and tells it. Throws `corrupt` the second time. */
  async #comparePassed(ranges: readonly Range[], signal: AbortSignal): Promise<readonly Range[]> {
    const wrong: Range[] = [];
    let corrupt: HawserError | undefined;
    for (const [index, found] of this.#within(ranges)) {
      this.#passed.delete(index);
      const wanted = await this.#leaves?.known?.leaf(index, signal);
      const block = this.#block(index);
      if (wanted === undefined || wanted.equals(found)) {
        this.#checked.add(block);
        continue;
      }
      wrong.push(block);
      if (this.#fetchedAgain.has(index)) corrupt ??= damaged(index, block);
      this.#fetchedAgain.add(index);
    }
    if (wrong.length > 0) await this.#parts.upload.discard(wrong);
    if (corrupt !== undefined) throw corrupt;
    return wrong;
  }

  #within(ranges: readonly Range[]): readonly (readonly [number, Buffer])[] {
    const inside = RangeSet.of(ranges);
    return [...this.#passed].filter(([index]) => inside.contains({ offset: index * TREE_BLOCK, length: 1 }));
  }

  #note(record: JournalRecord): void {
    const { size } = this.#parts;
    if (record.kind !== 'zero' && record.kind !== 'data' && record.kind !== 'leaf') return;
    const index = record.offset / TREE_BLOCK;
    // Of zeros only what came as data: holes are compared by themselves, however large.
    if (!Number.isInteger(index) || record.length !== blockLength(size, index)) return;
    this.#passed.set(index, record.kind === 'zero' ? zeroLeafOf(record.length) : record.digest);
  }

  #block(index: number): Range {
    return { offset: index * TREE_BLOCK, length: blockLength(this.#parts.size, index) };
  }
}

/** What a source leaves out would be missing at the end, and one that does not go on would be asked for ever. */
function mustFollow(from: number, { size, extents, next }: ExtentPage): void {
  let end = from;
  for (const extent of extents) {
    if (extent.offset !== end || extent.length <= 0) throw strangeExtents(end);
    end = rangeEnd(extent);
  }
  if (end !== (next ?? size) || (next !== null && extents.length === 0)) throw strangeExtents(end);
}

function strangeExtents(at: number): HawserError {
  return new HawserError(
    'unsupported',
    `The source does not tell its extents in order and without gaps (at byte ${at}). Fetch from another copy.`,
  );
}

function damaged(index: number, block: Range): HawserError {
  return new HawserError(
    'corrupt',
    `Block ${index} of the source (bytes ${block.offset} to ${rangeEnd(block)}) is not what its digest says, also when it was read again: it is damaged there. Verify that copy; what else was fetched is kept, so fetch the rest from another copy.`,
    { details: { block: index, offset: block.offset, length: block.length } },
  );
}
