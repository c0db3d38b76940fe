import { LEAF_BYTES, leafCount, TREE_BLOCK, ZERO_BLOCK_LEAF } from '../core/digest.ts';
import type { Range } from '../core/range.ts';
import type { Hashing } from './ports.ts';

const PAGE = 1024;

/**
 * The leaves of a digest tree. A block of which nothing was said is a whole block of zeros, and pages
 * without any other leaf take no memory: 32 bytes a MiB of data, nothing for long holes.
 */
export class LeafTable {
  readonly #pages = new Map<number, Uint8Array>();

  set(index: number, leaf: Uint8Array): void {
    const number = Math.floor(index / PAGE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      if (sameBytes(leaf, zeroLeaf)) return;
      page = zeroPage();
      this.#pages.set(number, page);
    }
    page.set(leaf, (index % PAGE) * LEAF_BYTES);
  }

  get(index: number): Uint8Array {
    const page = this.#pages.get(Math.floor(index / PAGE));
    const at = (index % PAGE) * LEAF_BYTES;
    return page === undefined ? zeroLeaf : page.subarray(at, at + LEAF_BYTES);
  }

  /** The tree digest of content of `size` bytes, lower-case hex. */
  async treeDigest(size: number, hashing: Hashing): Promise<string> {
    return toHex(await hashing.sha256Of(this.#inOrder(leafCount(size))));
  }

  /** The tree digest of a part that begins with a block, as if it were all: lower-case hex. */
  async rangeDigest(range: Range, hashing: Hashing): Promise<string> {
    return toHex(await hashing.sha256Of(this.#inOrder(leafCount(range.length), range.offset / TREE_BLOCK)));
  }

  *#inOrder(count: number, first = 0): Generator<Uint8Array> {
    const zeros = zeroPage();
    for (let at = first; at < first + count; ) {
      const inPage = at % PAGE;
      const most = Math.min(PAGE - inPage, first + count - at);
      const page = this.#pages.get((at - inPage) / PAGE) ?? zeros;
      yield page.subarray(inPage * LEAF_BYTES, (inPage + most) * LEAF_BYTES);
      at += most;
    }
  }
}

/** The leaf of a whole block of zeros. */
export const zeroLeaf: Uint8Array = fromHex(ZERO_BLOCK_LEAF);

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

function zeroPage(): Uint8Array {
  const page = new Uint8Array(PAGE * LEAF_BYTES);
  for (let i = 0; i < PAGE; i++) page.set(zeroLeaf, i * LEAF_BYTES);
  return page;
}
