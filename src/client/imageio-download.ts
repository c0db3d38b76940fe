import { TREE_BLOCK } from '../core/digest.ts';
import { HawserError, isHawserError, toHawserError } from '../core/errors.ts';
import { following, inLanes } from '../core/in-lanes.ts';
import { cutAt, type Range, RangeSet, rangeEnd } from '../core/range.ts';
import type { DownloadSink } from './download-sink.ts';
import { endOfExtents, imageioExtents } from './imageio-extents.ts';
import type { ImageioImage, Offer } from './imageio-image.ts';
import { mayPass, patiently, transferPatience } from './imageio-patience.ts';
import { type ImageioProgress, ImageioStatus } from './imageio-progress.ts';
import { verifyImageio } from './imageio-verify.ts';
import { LeafTable } from './leaf-table.ts';
import type { Patience } from './patience.ts';
import type { Clock, FileSource, Hashing } from './ports.ts';
import { cutSource } from './source-cuts.ts';
import { isZero } from './zero-test.ts';

export interface ImageioDownloadOptions {
  readonly image: ImageioImage;
  readonly offer: Offer;
  /** Of the image, as `imageioSize` tells it. */
  readonly size: number;
  readonly sink: DownloadSink;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Connections at most; the server may want fewer. */
  readonly parallel: number;
  readonly onProgress?: (progress: ImageioProgress) => void;
}

export interface ImageioDownloadOutcome {
  /** hex of `tree-sha256` of what was written. */
  readonly treeDigest: string;
  readonly size: number;
  readonly fetchedBytes: number;
  readonly keptBytes: number;
  readonly holeBytes: number;
  /** Whether the server's own digest of it was compared at the end. */
  readonly verified: boolean;
}

const MOST = 4 * 1024 * 1024;
/** A run of zeros of this length in what was left may be what was not fetched. */
const LEFT_BLOCK = 64 * 1024;

/** Bytes of the image behind a ticket. */
export async function imageioSize(image: ImageioImage, offer: Offer): Promise<number> {
  if (offer.size !== undefined) return offer.size;
  if (offer.features.has('extents')) return await endOfExtents(image);
  throw new HawserError('unsupported', `${image.where.shown} tells neither size nor extents of the image.`, {
    details: { next: 'Fetch it with curl; what comes then cannot be checked.' },
  });
}

/**
 * Fetches the image behind a ticket: its data on several connections; zeros become holes, also those that the server
 * ships. What a run before left is kept where the server can prove it, or where all of it is proven in the end. Throws
 * `corrupt` when the digest of the server is another one, `source-changed` when the image changes meanwhile.
 */
export async function downloadFromImageio(options: ImageioDownloadOptions): Promise<ImageioDownloadOutcome> {
  const { controller: stop, release } = following(options.signal);
  const left = leftOf(options);
  try {
    try {
      return await new ImageioDownload(options, stop, left).run();
    } catch (error) {
      if (left !== 'believed' || !isHawserError(error, 'corrupt')) throw error;
    }
    // What had been left was of another image. Nothing of it is believed now.
    return await new ImageioDownload(options, stop, 'replaced').run();
  } finally {
    release();
    stop.abort();
  }
}

/** What becomes of the bytes of a run before: compared with checksums of parts, believed until the end, or fetched anew. */
type Left = 'none' | 'compared' | 'believed' | 'replaced';

function leftOf({ offer, sink }: ImageioDownloadOptions): Left {
  if (sink.read === undefined) return 'none';
  if (offer.partial.has('checksum')) return 'compared';
  return offer.features.has('checksum') ? 'believed' : 'replaced';
}

class ImageioDownload {
  readonly #options: ImageioDownloadOptions;
  readonly #stop: AbortController;
  readonly #left: Left;
  readonly #status: ImageioStatus;
  readonly #patience: Patience;
  readonly #leafTable = new LeafTable();
  #etag: string | undefined;
  #fetched = 0;
  #kept = 0;
  #holes = 0;

  constructor(options: ImageioDownloadOptions, stop: AbortController, left: Left) {
    this.#options = { ...options, image: options.image.under(stop.signal) };
    this.#stop = stop;
    this.#left = left;
    this.#status = new ImageioStatus(options.size, options.onProgress);
    this.#patience = transferPatience(options.clock, stop.signal, this.#status);
  }

  async run(): Promise<ImageioDownloadOutcome> {
    const { hashing, offer, parallel, sink, size } = this.#options;
    const lanes = sink.ordered ? 1 : Math.min(parallel, offer.readers);
    const room = Math.min(MOST, Math.max(TREE_BLOCK, Math.ceil(size / TREE_BLOCK) * TREE_BLOCK));
    const buffers = Array.from({ length: lanes }, () => hashing.allocate(room));
    this.#status.change({ phase: 'fetching', done: 0 });
    const cuts = cutSource(this.#remote(), { offset: 0, length: size }, room);
    await inLanes(cuts, lanes, this.#stop, async (cut, lane) => {
      const buffer = buffers[lane];
      if (buffer === undefined) return;
      if (cut.kind === 'hole') await this.#hole(cut.range, buffer);
      else await this.#data(cut.range, buffer.subarray(0, cut.range.length));
      this.#status.landed(cut.range, this.#fetched + this.#kept + this.#holes);
    });
    const verified = await this.#verify();
    const treeDigest = await this.#leafTable.treeDigest(size, hashing);
    this.#status.change({ phase: 'done', done: size });
    const [fetchedBytes, keptBytes, holeBytes] = [this.#fetched, this.#kept, this.#holes];
    return { treeDigest, size, fetchedBytes, keptBytes, holeBytes, verified };
  }

  async #hole(hole: Range, room: Uint8Array): Promise<void> {
    await this.#options.sink.hole(hole);
    this.#holes += hole.length;
    const length = rangeEnd(hole) % TREE_BLOCK;
    if (length > 0) await this.#note({ offset: rangeEnd(hole) - length, length }, room.subarray(0, length).fill(0));
  }

  /** Whole blocks. `bytes` is room for them. */
  async #data(range: Range, bytes: Uint8Array): Promise<void> {
    if (await this.#isLeft(range, bytes)) {
      this.#kept += range.length;
      return;
    }
    await this.#fetch(range, bytes);
    await this.#note(range, bytes);
    const data = new RangeSet();
    for (const block of cutAt(range, TREE_BLOCK)) {
      if (isZero(viewOf(range, bytes, block))) await this.#writeRuns(data, { range, bytes, hole: block });
      else data.add(block);
    }
    await this.#writeRuns(data, { range, bytes });
    this.#fetched += range.length;
  }

  /** In order, for a pipe: what was collected, and then a hole. */
  async #writeRuns(
    data: RangeSet,
    { range, bytes, hole }: { readonly range: Range; readonly bytes: Uint8Array; readonly hole?: Range },
  ): Promise<void> {
    const { sink } = this.#options;
    for (const run of [...data]) {
      await sink.write(viewOf(range, bytes, run), run.offset);
      data.remove(run);
    }
    if (hole !== undefined) await sink.hole(hole);
  }

  /** Whether a run before left the right bytes; they are in `bytes` and noted then. */
  async #isLeft(range: Range, bytes: Uint8Array): Promise<boolean> {
    const { hashing, image, sink } = this.#options;
    if (sink.read === undefined || (this.#left !== 'compared' && this.#left !== 'believed')) return false;
    await sink.read(bytes, range.offset);
    const pieces = [...cutAt(range, LEFT_BLOCK)];
    const blank = pieces.filter((piece) => isZero(viewOf(range, bytes, piece))).length;
    if (blank === pieces.length || (blank > 0 && this.#left === 'believed')) return false;
    await this.#note(range, bytes);
    if (this.#left === 'believed') return true;
    const ours = await this.#leafTable.rangeDigest(range, hashing);
    return ours === (await patiently(this.#patience, () => image.treeDigest(range)));
  }

  async #note(range: Range, bytes: Uint8Array): Promise<void> {
    const blocks = [...cutAt(range, TREE_BLOCK)];
    const leaves = await this.#options.hashing.sha256(blocks.map((block) => viewOf(range, bytes, block)));
    const first = Math.floor(range.offset / TREE_BLOCK);
    for (const [i, leaf] of leaves.entries()) this.#leafTable.set(first + i, leaf);
  }

  /** Fills `into`; what arrived before a break is kept. */
  async #fetch(range: Range, into: Uint8Array): Promise<void> {
    const { image } = this.#options;
    const { signal } = this.#stop;
    const passes = mayPass();
    for (let done = 0; done < into.length; ) {
      let arrived = 0;
      const onReceived = (bytes: number) => {
        arrived = bytes;
        this.#status.underway(range, done + bytes);
      };
      try {
        const answer = await image.get(into.subarray(done), range.offset + done, { etag: this.#etag, onReceived });
        this.#etag = answer.etag;
        this.#patience.succeeded();
      } catch (error) {
        signal.throwIfAborted();
        const known = toHawserError(error, 'connection-lost');
        if (!passes(known)) throw known;
        await this.#patience.outlast(known);
      }
      done += arrived;
    }
  }

  /** The image as something to cut; without extents all of it is data. */
  #remote(): FileSource {
    const { image, offer, size } = this.#options;
    const source = {
      kind: 'file' as const,
      size,
      fingerprint: '',
      read: () => Promise.reject(new TypeError('an image is fetched, not read')),
    };
    if (!offer.features.has('extents')) return source;
    return { ...source, extents: (range) => imageioExtents({ image, offer, patience: this.#patience }, range) };
  }

  #verify(): Promise<boolean> {
    const { hashing, image, offer, size } = this.#options;
    return verifyImageio({
      image,
      offer,
      imageSize: size,
      size,
      leafTable: this.#leafTable,
      hashing,
      patience: this.#patience,
      status: this.#status,
      differs: (where) =>
        new HawserError('corrupt', `What was fetched is not what the server has ${where}.`, {
          details: { next: 'Somebody may write the image. Run the same command again when nobody does.' },
        }),
    });
  }
}

function viewOf(range: Range, bytes: Uint8Array, part: Range): Uint8Array {
  return bytes.subarray(part.offset - range.offset, rangeEnd(part) - range.offset);
}
