import { createHash } from 'node:crypto';
import { blockLength, LEAF_BYTES, leafCount, TREE_BLOCK } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import { zeroLeafOf } from '../../engine/tree-digest.ts';
import type { DistantCopy } from './ports.ts';

/** Leaves that are asked for at once, 2 MiB of them: those of 64 GiB. */
const WINDOW = 65_536;
/** Windows that are kept: lanes that work side by side may stand in two. */
const KEPT = 3;

/**
 * The leaves of a source, read window by window: memory does not grow with its size. They were checked
 * against its tree digest once; a window that is read again must be the same.
 */
export class SourceLeaves {
  readonly #copy: DistantCopy;
  readonly #size: number;
  readonly #windowDigests: readonly Buffer[];
  readonly #windows = new Map<number, Buffer>();

  private constructor(copy: DistantCopy, size: number, windowDigests: readonly Buffer[]) {
    this.#copy = copy;
    this.#size = size;
    this.#windowDigests = windowDigests;
  }

  /** undefined: the source has none. Throws `digest-mismatch` when they do not make up `treeDigest`. */
  static async read(
    copy: DistantCopy,
    { size, treeDigest }: { readonly size: number; readonly treeDigest: string | null },
    signal: AbortSignal,
  ): Promise<SourceLeaves | undefined> {
    const whole = createHash('sha256');
    const windows: Buffer[] = [];
    for (let first = 0; first < leafCount(size); first += WINDOW) {
      const bytes = await readWindow(copy, size, { first, signal });
      if (bytes === undefined) return undefined;
      whole.update(bytes);
      windows.push(digestOf(bytes));
    }
    const found = whole.digest('hex');
    if (treeDigest !== null && found !== treeDigest) {
      throw new HawserError(
        'digest-mismatch',
        `The source was to have tree-sha256 ${treeDigest}; the block digests it tells make ${found}. Nothing was fetched. Verify the source, or fetch from another copy.`,
        { details: { wanted: `tree-sha256:${treeDigest}`, found: `tree-sha256:${found}` } },
      );
    }
    return new SourceLeaves(copy, size, windows);
  }

  async leaf(index: number, signal: AbortSignal): Promise<Buffer> {
    const number = Math.floor(index / WINDOW);
    const window = this.#windows.get(number) ?? (await this.#load(number, signal));
    const place = (index - number * WINDOW) * LEAF_BYTES;
    return window.subarray(place, place + LEAF_BYTES);
  }

  /** The first block of the hole `range` whose leaf is not the one of zeros. Whole blocks. */
  async firstNotZero(range: Range, signal: AbortSignal): Promise<number | undefined> {
    const last = leafCount(rangeEnd(range)) - 1;
    let [length, zeros] = [0, zeroLeafOf(TREE_BLOCK)];
    for (let index = range.offset / TREE_BLOCK; index <= last; index++) {
      if (length !== blockLength(this.#size, index)) {
        length = blockLength(this.#size, index);
        zeros = zeroLeafOf(length);
      }
      const window =
        this.#windows.get(Math.floor(index / WINDOW)) ?? (await this.#load(Math.floor(index / WINDOW), signal));
      const place = (index % WINDOW) * LEAF_BYTES;
      if (window.compare(zeros, 0, LEAF_BYTES, place, place + LEAF_BYTES) !== 0) return index;
    }
    return undefined;
  }

  async #load(number: number, signal: AbortSignal): Promise<Buffer> {
    const bytes = await readWindow(this.#copy, this.#size, { first: number * WINDOW, signal });
    if (bytes === undefined || !digestOf(bytes).equals(this.#windowDigests[number] ?? Buffer.alloc(0))) {
      throw new HawserError(
        'source-changed',
        'The source tells other block digests than before: it is not the same copy any more. Fetch from a copy that is ready.',
      );
    }
    this.#windows.set(number, bytes);
    for (const old of this.#windows.keys()) {
      if (this.#windows.size <= KEPT) break;
      this.#windows.delete(old);
    }
    return bytes;
  }
}

async function readWindow(
  copy: DistantCopy,
  size: number,
  { first, signal }: { readonly first: number; readonly signal: AbortSignal },
): Promise<Buffer | undefined> {
  const count = Math.min(WINDOW, leafCount(size) - first);
  const bytes = Buffer.from(await copy.leaves(first, count, signal));
  if (bytes.length === 0) return undefined;
  if (bytes.length === count * LEAF_BYTES) return bytes;
  throw new HawserError(
    'source-changed',
    `The source tells ${bytes.length} bytes of block digests where ${count * LEAF_BYTES} were expected. Fetch from another copy.`,
  );
}

function digestOf(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
