import { blockLength, TREE_BLOCK } from '../core/digest.ts';
import { HawserError } from '../core/errors.ts';
import { inLanes } from '../core/in-lanes.ts';
import { type Range, RangeSet, rangeEnd } from '../core/range.ts';
import type { Acknowledged } from './acknowledged.ts';
import type { Delivery } from './delivery.ts';
import type { LeafTable } from './leaf-table.ts';
import type { FileSource, Hashing, StreamSource } from './ports.ts';
import { cutSource, readCut, type SourceCut, wholeBlocks } from './source-cuts.ts';
import { compareBytes, type ServerContent } from './verify-received.ts';
import { isZero } from './zero-test.ts';

/** Gets bytes and zeros to where they go, whatever happens on the way. */
export type Sending = Pick<Delivery, 'sendData' | 'sendZeros'>;

export interface SendParts {
  readonly delivery: Sending;
  readonly hashing: Hashing;
  readonly acknowledged: Acknowledged;
  readonly leafTable: LeafTable;
  /** One for each lane. */
  readonly buffers: readonly Uint8Array[];
  readonly stop: AbortController;
}

/** Zeros are told in batches: at the latest after so many separate runs, or so many bytes, so that progress is seen. */
const BATCH_RUNS = 256;
const BATCH_BYTES = 1024 * 1024 * 1024;

/** Sends what is not acknowledged. Each block is read and hashed once, holes are neither. Resolves with the size. */
export async function sendFile(source: FileSource, parts: SendParts): Promise<number> {
  const { buffers, acknowledged, stop } = parts;
  const zeros = new ZeroBatch(parts.delivery);
  const most = Math.min(...buffers.map((buffer) => buffer.length));
  await inLanes(missingCuts(source, acknowledged, most), buffers.length, stop, async (cut, lane) => {
    const buffer = buffers[lane];
    if (buffer === undefined) return;
    if (cut.kind === 'hole') {
      await zeros.add(cut.range);
      await noteZeroTail(parts, cut.range, buffer);
      return;
    }
    const bytes = buffer.subarray(0, cut.range.length);
    await readCut(source, cut, bytes);
    await sendBytes(parts, zeros, cut.range.offset, bytes);
  });
  await zeros.flush();
  return source.size;
}

/**
 * Sends what comes from a pipe. What the server has already (from a run before) is compared as it
 * passes and not sent again. Resolves with the size.
 */
export async function sendStream(source: StreamSource, content: ServerContent, parts: SendParts): Promise<number> {
  const { buffers, hashing, leafTable, stop } = parts;
  const zeros = new ZeroBatch(parts.delivery);
  const free = [...buffers];
  let size = 0;
  async function* pieces(): AsyncGenerator<{
    readonly base: number;
    readonly buffer: Uint8Array;
    readonly length: number;
  }> {
    for (;;) {
      // A lane asks only when its last piece is done, so there is a free buffer for each that asks.
      const buffer = free.pop();
      if (buffer === undefined) throw new RangeError('more lanes than buffers');
      const length = await source.read(buffer);
      const base = size;
      size += length;
      if (length > 0) yield { base, buffer, length };
      if (length < buffer.length) return;
    }
  }
  await inLanes(pieces(), buffers.length, stop, async ({ base, buffer, length }) => {
    const bytes = buffer.subarray(0, length);
    const end = { size: source.size ?? base + length };
    if (content.ranges.bytes > 0) await compareBytes({ content, hashing, leafTable, source: end }, base, bytes);
    await sendBytes(parts, zeros, base, bytes);
    free.push(buffer);
  });
  await zeros.flush();
  if (source.size !== null && source.size !== size) {
    throw new HawserError('size-mismatch', `${source.size} bytes were announced, and ${size} came.`, {
      details: { next: 'Give the right size, or none; what was sent stays for the next run.' },
    });
  }
  return size;
}

/** Hashes the blocks of `bytes` (whole blocks from `base`) and sends what is neither zero nor acknowledged. */
async function sendBytes(parts: SendParts, zeros: ZeroBatch, base: number, bytes: Uint8Array): Promise<void> {
  const { delivery, hashing, leafTable } = parts;
  const hashed: { readonly block: number; readonly view: Uint8Array }[] = [];
  const data = new RangeSet();
  const end = base + bytes.length;
  for (let block = base / TREE_BLOCK; block * TREE_BLOCK < end; block++) {
    const range = { offset: block * TREE_BLOCK, length: blockLength(end, block) };
    const view = bytes.subarray(range.offset - base, rangeEnd(range) - base);
    const zero = isZero(view);
    if (zero) await zeros.add(range);
    else data.add(range);
    if (!zero || range.length < TREE_BLOCK) hashed.push({ block, view });
  }
  const sending = (async () => {
    for (const run of data) await delivery.sendData(bytes, base, run);
  })();
  const [hashes, sent] = await Promise.allSettled([hashing.sha256(hashed.map(({ view }) => view)), sending]);
  if (sent.status === 'rejected') throw sent.reason;
  if (hashes.status === 'rejected') throw hashes.reason;
  for (const [i, { block }] of hashed.entries()) {
    const leaf = hashes.value[i];
    if (leaf !== undefined) leafTable.set(block, leaf);
  }
}

/** A short last block of zeros has a leaf of its own; whole ones are known. */
async function noteZeroTail({ hashing, leafTable }: SendParts, hole: Range, buffer: Uint8Array): Promise<void> {
  const length = rangeEnd(hole) % TREE_BLOCK;
  if (length === 0) return;
  const [leaf] = await hashing.sha256([buffer.subarray(0, length).fill(0)]);
  if (leaf !== undefined) leafTable.set(Math.floor(rangeEnd(hole) / TREE_BLOCK), leaf);
}

async function* missingCuts(source: FileSource, acknowledged: Acknowledged, most: number): AsyncGenerator<SourceCut> {
  const missing = acknowledged.missing({ offset: 0, length: source.size });
  const blocks = RangeSet.of(missing.map((range) => wholeBlocks(range, source.size)));
  for (const range of blocks) yield* cutSource(source, range, most);
}

/** Collects zeros, so that a thousand holes are one request. */
class ZeroBatch {
  readonly #delivery: Sending;
  #pending = new RangeSet();

  constructor(delivery: Sending) {
    this.#delivery = delivery;
  }

  async add(range: Range): Promise<void> {
    this.#pending.add(range);
    if (this.#pending.count >= BATCH_RUNS || this.#pending.bytes >= BATCH_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    const ranges = this.#pending;
    this.#pending = new RangeSet();
    if (ranges.count > 0) await this.#delivery.sendZeros(ranges);
  }
}
