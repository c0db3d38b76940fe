import { blockLength, LEAF_BYTES, leafCount, TREE_BLOCK } from '../core/digest.ts';
import { HawserError, toHawserError } from '../core/errors.ts';
import { type Range, RangeSet, rangeEnd } from '../core/range.ts';
import type { DataRoute } from './data-route.ts';
import type { DownloadSink } from './download-sink.ts';
import { type LeafTable, sameBytes } from './leaf-table.ts';
import type { Patience } from './patience.ts';
import type { Clock, DownloadTransport, GetAnswer, Hashing } from './ports.ts';
import { errorOfAnswer } from './problem.ts';
import { watched } from './stall-watch.ts';
import { isZero } from './zero-test.ts';

export interface FetchParts {
  readonly size: number;
  readonly sink: DownloadSink;
  readonly hashing: Hashing;
  readonly leafTable: LeafTable;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly patience: Patience;
  readonly stallMs: number;
  readonly transport: DownloadTransport;
  readonly route: DataRoute;
  leaves(first: number, count: number): Promise<Uint8Array>;
  readonly onFetched: (bytes: number) => void;
  readonly onKept: (bytes: number) => void;
}

const TRIES = 3;

/** Blocks of an Image, fetched, compared and written. */
export class FetchedBlocks {
  readonly #parts: FetchParts;
  #etag: string | undefined;

  constructor(parts: FetchParts) {
    this.#parts = parts;
  }

  /** Resolves when `range` (whole blocks) is in the sink and right. `bytes` is room for it. */
  async obtain(range: Range, bytes: Uint8Array): Promise<void> {
    const { onFetched, onKept, sink } = this.#parts;
    let wrong = RangeSet.of([range]);
    if (sink.read !== undefined) {
      await sink.read(bytes, range.offset);
      wrong = await this.#compare(range, bytes);
      onKept(range.length - wrong.bytes);
    }
    for (let attempt = 1; wrong.bytes > 0; attempt++) {
      if (attempt > TRIES) throw corruptError([...wrong][0]?.offset ?? range.offset);
      const view = (part: Range) => bytes.subarray(part.offset - range.offset, rangeEnd(part) - range.offset);
      for (const part of wrong) await this.#fetch(part, view(part));
      const still = await this.#compare(range, bytes);
      for (const part of wrong) {
        for (const right of still.missing(part)) {
          await sink.write(view(right), right.offset);
          onFetched(right.length);
        }
      }
      wrong = still;
    }
  }

  /** A short last block of zeros has a leaf of its own. */
  async noteHole(hole: Range, room: Uint8Array): Promise<void> {
    const { hashing, leafTable } = this.#parts;
    const length = rangeEnd(hole) % TREE_BLOCK;
    if (length === 0) return;
    const [leaf] = await hashing.sha256([room.subarray(0, length).fill(0)]);
    if (leaf !== undefined) leafTable.set(Math.floor(rangeEnd(hole) / TREE_BLOCK), leaf);
  }

  /** The blocks of it that differ from the digest tree. */
  async #compare(range: Range, bytes: Uint8Array): Promise<RangeSet> {
    const { hashing, leafTable, leaves, size } = this.#parts;
    const first = range.offset / TREE_BLOCK;
    const count = leafCount(range.length);
    const blocks = Array.from({ length: count }, (_, i) => ({
      offset: (first + i) * TREE_BLOCK,
      length: blockLength(size, first + i),
    }));
    const views = blocks.map((b) => bytes.subarray(b.offset - range.offset, rangeEnd(b) - range.offset));
    const [digests, wanted] = await Promise.all([hashing.sha256(views), leaves(first, count)]);
    const wrong = new RangeSet();
    for (const [i, block] of blocks.entries()) {
      const leaf = wanted.subarray(i * LEAF_BYTES, (i + 1) * LEAF_BYTES);
      const digest = digests[i];
      if (digest === undefined || !(isZero(leaf) || sameBytes(digest, leaf))) wrong.add(block);
      else leafTable.set(first + i, digest);
    }
    return wrong;
  }

  /** Fills `into`; what arrived before a break is kept. */
  async #fetch(range: Range, into: Uint8Array): Promise<void> {
    const { patience, signal } = this.#parts;
    for (let done = 0; done < into.length; ) {
      let arrived = 0;
      try {
        const part = { offset: range.offset + done, length: into.length - done };
        arrived = await this.#get(part, into.subarray(done), (bytes) => {
          arrived = bytes;
        });
        patience.succeeded();
      } catch (error) {
        signal.throwIfAborted();
        await patience.outlast(toHawserError(error, 'connection-lost'));
      }
      done += arrived;
    }
  }

  async #get(range: Range, into: Uint8Array, onReceived: (bytes: number) => void): Promise<number> {
    const { patience, route, transport } = this.#parts;
    const target = await patience.persist(() => route.target());
    const headers: Record<string, string> = {
      ...target.headers,
      range: `bytes=${range.offset}-${rangeEnd(range) - 1}`,
      ...(this.#etag === undefined ? {} : { 'if-range': this.#etag }),
    };
    let answer: GetAnswer;
    try {
      answer = await watched(this.#parts, (signal, moved) => {
        const received = (bytes: number) => {
          moved(bytes);
          onReceived(bytes);
        };
        const { url, ca, host } = target;
        return transport.get({ url, ca, host, headers, into, onReceived: received, signal });
      });
    } catch (error) {
      route.broke(target);
      throw error;
    }
    if ((answer.status === 401 || answer.status === 403) && route.refused(target)) return 0;
    if (answer.status === 200 && range.length < this.#parts.size) throw changedError();
    if (answer.status !== 206 && answer.status !== 200) {
      throw errorOfAnswer({ status: answer.status, body: answer.body, url: target.url.replace(/\?.*$/, '') });
    }
    const { etag } = answer.headers;
    if (etag !== undefined && this.#etag !== undefined && etag !== this.#etag) throw changedError();
    this.#etag = etag;
    route.succeeded();
    if (answer.length === 0) throw new HawserError('connection-lost', `${target.url} answered without a body.`);
    return answer.length;
  }
}

function changedError(): HawserError {
  return new HawserError('source-changed', 'The image changed on the server while it was being downloaded.', {
    details: { next: 'Run the download again: what is right in the file is kept.' },
  });
}

function corruptError(offset: number): HawserError {
  return new HawserError(
    'corrupt',
    `The block at byte ${offset} does not have the digest that the image has, also after ${TRIES} tries.`,
    { details: { offset, next: 'Check the stored copy: hawser image verify.' } },
  );
}
