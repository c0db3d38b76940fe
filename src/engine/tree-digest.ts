import { createHash } from 'node:crypto';
import { blockLength, LEAF_BYTES, leafCount, TREE_BLOCK, ZERO_BLOCK_LEAF } from '../core/digest.ts';

const zeroLeaf = Buffer.from(ZERO_BLOCK_LEAF, 'hex');

/** The leaf of a block of `length` zeros. */
export function zeroLeafOf(length: number): Buffer {
  return length === TREE_BLOCK ? zeroLeaf : createHash('sha256').update(Buffer.alloc(length)).digest();
}

/**
 * The leaves of content that is being put together, 32 bytes each. A leaf of 32 zero bytes stands for
 * "not known": no SHA-256 anybody has seen is that.
 */
export class LeafList {
  readonly bytes: Buffer;
  readonly first: number;
  readonly size: number;

  /** Leaves `first` to `first + count` of content of `size` bytes. */
  constructor(
    size: number,
    window: { readonly first: number; readonly count: number } = { first: 0, count: leafCount(size) },
  ) {
    this.size = size;
    this.first = window.first;
    this.bytes = Buffer.alloc(Math.max(0, Math.min(window.count, leafCount(size) - window.first)) * LEAF_BYTES);
  }

  get count(): number {
    return this.bytes.length / LEAF_BYTES;
  }

  set(index: number, leaf: Uint8Array): void {
    const place = index - this.first;
    if (place >= 0 && place < this.count) this.bytes.set(leaf, place * LEAF_BYTES);
  }

  /** Blocks that lie wholly in `[offset, end)` are zeros. */
  setZeros(offset: number, end: number): void {
    const last = leafCount(this.size) - 1;
    const from = Math.max(this.first, Math.ceil(offset / TREE_BLOCK));
    const to = Math.min(this.first + this.count, end >= this.size ? last + 1 : Math.floor(end / TREE_BLOCK));
    if (to <= from) return;
    this.bytes.fill(zeroLeaf, (from - this.first) * LEAF_BYTES, (to - this.first) * LEAF_BYTES);
    if (to === last + 1) this.set(last, zeroLeafOf(blockLength(this.size, last)));
  }

  known(index: number): boolean {
    const place = (index - this.first) * LEAF_BYTES;
    for (let i = place; i < place + LEAF_BYTES; i++) if (this.bytes[i] !== 0) return true;
    return false;
  }

  /** Forgets the leaves of all blocks that `[offset, end)` touches. */
  forget(offset: number, end: number): void {
    const from = Math.max(this.first, Math.floor(offset / TREE_BLOCK));
    const to = Math.min(this.first + this.count, Math.ceil(end / TREE_BLOCK));
    if (to > from) this.bytes.fill(0, (from - this.first) * LEAF_BYTES, (to - this.first) * LEAF_BYTES);
  }

  /** hex of tree-sha256. */
  treeDigest(): string {
    return createHash('sha256').update(this.bytes).digest('hex');
  }
}
