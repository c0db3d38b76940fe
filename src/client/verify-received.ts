import { blockLength, LEAF_BYTES, leafCount, TREE_BLOCK } from '../core/digest.ts';
import { HawserError } from '../core/errors.ts';
import { inLanes } from '../core/in-lanes.ts';
import { type Range, RangeSet, rangeEnd } from '../core/range.ts';
import { type LeafTable, sameBytes, toHex, zeroLeaf } from './leaf-table.ts';
import type { FileSource, Hashing } from './ports.ts';
import { cutSource, readCut, type SourceCut, wholeBlocks } from './source-cuts.ts';
import { isZero } from './zero-test.ts';

/** What a server says it has, and the digests to compare with. */
export interface ServerContent {
  readonly ranges: RangeSet;
  readonly zeros: RangeSet;
  /** Parts of incomplete blocks by block number. */
  readonly fragments: ReadonlyMap<number, readonly Fragment[]>;
  /** 32 bytes a block; all zero: not known. */
  leaves(first: number, count: number): Promise<Uint8Array>;
}

export interface Fragment extends Range {
  readonly sha256: string;
}

export interface VerifyRequest {
  readonly source: FileSource;
  readonly content: ServerContent;
  /** Gets the leaf of every block that was compared whole. */
  readonly leafTable: LeafTable;
  readonly hashing: Hashing;
  /** One for each lane, of a multiple of 1 MiB. */
  readonly buffers: readonly Uint8Array[];
  readonly stop: AbortController;
  readonly onCompared: (bytes: number) => void;
}

/**
 * Compares every byte that the server has with the source. Holes on both sides need no reading.
 * Throws `source-changed` with details.offset at the first difference.
 */
export async function verifyReceived(request: VerifyRequest): Promise<void> {
  const { source, content, buffers, stop } = request;
  const most = Math.min(...buffers.map((buffer) => buffer.length));
  await inLanes(cutsOf(source, content.ranges, most), buffers.length, stop, async (cut, lane) => {
    const buffer = buffers[lane];
    if (buffer === undefined) return;
    if (cut.kind === 'hole') await compareHole(request, cut.range, buffer);
    else {
      const bytes = buffer.subarray(0, cut.range.length);
      await readCut(source, cut, bytes);
      await compareBytes(request, cut.range.offset, bytes);
    }
    const had = [...content.ranges.inside(cut.range)].reduce((sum, range) => sum + range.length, 0);
    request.onCompared(had);
  });
}

/** Compares those parts of `bytes`, which lie at `base` of the source, that the server has. */
export async function compareBytes(
  request: Pick<VerifyRequest, 'content' | 'hashing' | 'leafTable'> & { readonly source: { readonly size: number } },
  base: number,
  bytes: Uint8Array,
): Promise<void> {
  const { content, hashing, leafTable, source } = request;
  const checks: { readonly at: Range; readonly view: Uint8Array; readonly wanted: string; readonly leaf?: number }[] =
    [];
  const view = (range: Range) => bytes.subarray(range.offset - base, rangeEnd(range) - base);
  const end = base + bytes.length;
  const first = base / TREE_BLOCK;
  const known = await leavesFor(content, { offset: base, length: bytes.length });
  for (let block = first; block * TREE_BLOCK < end; block++) {
    const at = { offset: block * TREE_BLOCK, length: blockLength(Math.min(source.size, end), block) };
    for (const zeros of content.zeros.inside(at)) {
      if (!isZero(view(zeros))) throw changedAt(firstDifference(view(zeros)) + zeros.offset);
    }
    const leaf = known.subarray((block - first) * LEAF_BYTES, (block - first + 1) * LEAF_BYTES);
    if (content.ranges.contains(at) && leaf.length > 0 && !isZero(leaf)) {
      checks.push({ at, view: view(at), wanted: toHex(leaf), leaf: block });
      continue;
    }
    for (const fragment of content.fragments.get(block) ?? []) {
      checks.push({ at: fragment, view: view(fragment), wanted: fragment.sha256 });
    }
  }
  const digests = await hashing.sha256(checks.map((check) => check.view));
  for (const [i, check] of checks.entries()) {
    const digest = digests[i];
    if (digest === undefined || toHex(digest) !== check.wanted) throw changedAt(check.at.offset);
    if (check.leaf !== undefined) leafTable.set(check.leaf, digest);
  }
}

export function fragmentsByBlock(fragments: readonly Fragment[]): ReadonlyMap<number, readonly Fragment[]> {
  const blocks = new Map<number, Fragment[]>();
  for (const fragment of fragments) {
    const block = Math.floor(fragment.offset / TREE_BLOCK);
    const list = blocks.get(block);
    if (list === undefined) blocks.set(block, [fragment]);
    else list.push(fragment);
  }
  return blocks;
}

/** Keeps the last few thousand leaves, so that a walk asks for each once. */
export function cachedLeaves(ask: (first: number, count: number) => Promise<Uint8Array>, total: number) {
  const PAGE = 4096;
  const pages = new Map<number, Promise<Uint8Array>>();
  const pageOf = (number: number) => {
    const known = pages.get(number);
    if (known !== undefined) return known;
    const asked = ask(number * PAGE, Math.min(PAGE, total - number * PAGE));
    pages.set(number, asked);
    asked.catch(() => pages.delete(number));
    for (const old of pages.keys()) if (pages.size > 8 && old !== number) pages.delete(old);
    return asked;
  };
  return async (first: number, count: number): Promise<Uint8Array> => {
    const answer = new Uint8Array(count * LEAF_BYTES);
    for (let block = first; block < first + count; ) {
      const number = Math.floor(block / PAGE);
      const page = await pageOf(number);
      const upTo = Math.min(first + count, (number + 1) * PAGE);
      answer.set(
        page.subarray((block - number * PAGE) * LEAF_BYTES, (upTo - number * PAGE) * LEAF_BYTES),
        (block - first) * LEAF_BYTES,
      );
      block = upTo;
    }
    return answer;
  };
}

async function* cutsOf(source: FileSource, ranges: RangeSet, most: number): AsyncGenerator<SourceCut> {
  const blocks = RangeSet.of([...ranges].map((range) => wholeBlocks(range, source.size)));
  for (const range of blocks) yield* cutSource(source, range, most);
}

/** The source has a hole here: the server must have zeros, said as zeros or sent as such. */
async function compareHole(request: VerifyRequest, hole: Range, buffer: Uint8Array): Promise<void> {
  const { content, source } = request;
  for (const received of content.ranges.inside(hole)) {
    for (const sent of content.zeros.missing(received)) {
      const { offset, length } = wholeBlocks(sent, source.size);
      for (let at = offset; at < offset + length; at += buffer.length) {
        const part = { offset: at, length: Math.min(buffer.length, offset + length - at) };
        if (await allZeroLeaves(content, part)) continue;
        const zeros = buffer.subarray(0, part.length).fill(0);
        await compareBytes(request, at, zeros);
      }
    }
  }
}

async function allZeroLeaves(content: ServerContent, blocks: Range): Promise<boolean> {
  if (blocks.length % TREE_BLOCK !== 0 || !content.ranges.contains(blocks)) return false;
  const leaves = await leavesFor(content, blocks);
  for (let at = 0; at < leaves.length; at += LEAF_BYTES) {
    if (!sameBytes(leaves.subarray(at, at + LEAF_BYTES), zeroLeaf)) return false;
  }
  return true;
}

function leavesFor(content: ServerContent, blocks: Range): Promise<Uint8Array> {
  if (content.ranges.count === 0) return Promise.resolve(new Uint8Array());
  return content.leaves(blocks.offset / TREE_BLOCK, leafCount(blocks.length));
}

function firstDifference(bytes: Uint8Array): number {
  const at = bytes.findIndex((byte) => byte !== 0);
  return at < 0 ? 0 : at;
}

function changedAt(offset: number): HawserError {
  return new HawserError(
    'source-changed',
    `The source is not the one that was being uploaded: it differs from what the server has received, at or after byte ${offset}.`,
    { details: { offset, next: 'What the server has stays. Upload the original again, or begin anew (--restart).' } },
  );
}
