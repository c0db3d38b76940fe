import { TREE_BLOCK } from '../core/digest.ts';
import { HawserError, isHawserError } from '../core/errors.ts';
import { following, inLanes } from '../core/in-lanes.ts';
import { cutAt, type Range, RangeSet, rangeEnd } from '../core/range.ts';
import { Acknowledged } from './acknowledged.ts';
import { ImageioDelivery } from './imageio-delivery.ts';
import { endOfExtents, imageioExtents } from './imageio-extents.ts';
import type { ImageioImage, Offer } from './imageio-image.ts';
import { patiently, transferPatience } from './imageio-patience.ts';
import { type ImageioProgress, ImageioStatus } from './imageio-progress.ts';
import { verifyImageio } from './imageio-verify.ts';
import { readOnlyError } from './imageio-words.ts';
import { LeafTable } from './leaf-table.ts';
import type { Patience } from './patience.ts';
import type { Clock, FileSource, Hashing } from './ports.ts';
import { sendFile } from './send-source.ts';
import { cutSource, readCut, type SourceCut } from './source-cuts.ts';

export interface ImageioUploadOptions {
  readonly image: ImageioImage;
  readonly offer: Offer;
  readonly source: FileSource;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Connections at most; the server may want fewer. */
  readonly parallel: number;
  /** Bytes of one PUT, a multiple of 1 MiB. */
  readonly maxChunk: number;
  /** Send everything, without a look at what the server has. */
  readonly restart?: boolean;
  readonly onProgress?: (progress: ImageioProgress) => void;
}

export interface ImageioUploadOutcome {
  /** hex of `tree-sha256` of the source. */
  readonly treeDigest: string;
  readonly size: number;
  /** Of the image behind the ticket; undefined when the server does not tell. */
  readonly imageSize: number | undefined;
  readonly sentBytes: number;
  /** Zeroed without being sent, or zeros before. */
  readonly zeroBytes: number;
  /** Data that had been there, and was compared. */
  readonly keptBytes: number;
  /** Whether the server's own digest of it was compared at the end. */
  readonly verified: boolean;
}

const MiB = 1024 * 1024;
/** Ranges that differ one after the other, until nothing more is compared: what lies there is something else. */
const MISSES = 4;

/**
 * Writes `source` over the image behind a ticket, from its first byte on, as the server's offer allows: zeros by PATCH,
 * data by PUT on several connections, one flush, and at the end the server's digest. What the server can prove to have
 * (checksums of parts) is not sent again. Throws `too-large` before a byte is written, and `digest-mismatch`.
 */
export async function uploadToImageio(options: ImageioUploadOptions): Promise<ImageioUploadOutcome> {
  const { controller: stop, release } = following(options.signal);
  try {
    return await new ImageioUpload(options, stop).run();
  } finally {
    release();
    stop.abort();
  }
}

class ImageioUpload {
  readonly #options: ImageioUploadOptions;
  readonly #stop: AbortController;
  readonly #status: ImageioStatus;
  readonly #patience: Patience;
  readonly #acknowledged = new Acknowledged();
  readonly #leafTable = new LeafTable();
  readonly #buffers: readonly Uint8Array[];
  #misses = 0;
  #keptBytes = 0;

  constructor(options: ImageioUploadOptions, stop: AbortController) {
    const { clock, hashing, maxChunk, offer, parallel, source } = options;
    this.#options = { ...options, image: options.image.under(stop.signal) };
    this.#stop = stop;
    this.#status = new ImageioStatus(source.size, options.onProgress);
    this.#patience = transferPatience(clock, stop.signal, this.#status);
    const most = Math.min(wholeMiB(maxChunk), wholeMiB(source.size + MiB - 1));
    // One more than connections: it is read and hashed while the others are being sent.
    const lanes = Math.min(parallel, offer.writers) + 1;
    this.#buffers = Array.from({ length: lanes }, () => hashing.allocate(most));
  }

  async run(): Promise<ImageioUploadOutcome> {
    const { hashing, image, offer, restart = false, source } = this.#options;
    if (!offer.writable) throw readOnlyError();
    await this.#refuseTooLarge();
    if (!restart) await this.#compare();
    const delivery = new ImageioDelivery({
      image,
      offer,
      acknowledged: this.#acknowledged,
      patience: this.#patience,
      status: this.#status,
      connections: this.#buffers.length - 1,
      signal: this.#stop.signal,
    });
    const before = this.#acknowledged.bytes;
    this.#status.change({ phase: 'sending', done: before });
    await sendFile(source, {
      delivery,
      hashing,
      acknowledged: this.#acknowledged,
      leafTable: this.#leafTable,
      buffers: this.#buffers,
      stop: this.#stop,
    });
    await this.#flush();
    await this.#refuseChanged();
    const imageSize = await this.#imageSize();
    const verified = await this.#verify(imageSize);
    const treeDigest = await this.#leafTable.treeDigest(source.size, hashing);
    this.#status.change({ phase: 'done', done: source.size });
    const keptBytes = this.#keptBytes;
    const sentBytes = delivery.sent;
    const zeroBytes = delivery.zeros + before - keptBytes;
    return { treeDigest, size: source.size, imageSize, sentBytes, zeroBytes, keptBytes, verified };
  }

  /** Zeros of no length at the end of the source: nothing is written, and a server whose ticket is smaller refuses it. */
  async #refuseTooLarge(): Promise<void> {
    const { image, offer, source } = this.#options;
    if (!offer.features.has('zero')) return;
    try {
      await patiently(this.#patience, () => image.zero({ offset: source.size, length: 0 }));
    } catch (error) {
      if (!isHawserError(error, 'out-of-range')) throw error;
      throw new HawserError(
        'too-large',
        `The source has ${source.size} bytes, and the ticket allows ${error.details.allowed ?? 'fewer'}. Nothing was sent.`,
        { cause: error, details: { next: 'Ask for a ticket of at least that size.', size: source.size } },
      );
    }
  }

  /** Finds out what the server has already. Without checksums of parts it can prove nothing but zeros. */
  async #compare(): Promise<void> {
    const { image, offer, source } = this.#options;
    const { features, partial } = offer;
    // Zeros that are only said to be there are believed when all of it is compared in the end.
    if (!features.has('extents') || !features.has('checksum')) return;
    const size = Math.min(source.size, offer.size ?? source.size);
    const zeros = new RangeSet();
    const server = { image, offer, patience: this.#patience };
    for await (const extent of imageioExtents(server, { offset: 0, length: size })) {
      if (extent.kind === 'hole') zeros.add(extent);
    }
    this.#status.change({ phase: 'comparing', done: 0 });
    const most = Math.min(...this.#buffers.map((buffer) => buffer.length));
    const cuts = cutSource(source, { offset: 0, length: source.size }, most);
    await inLanes(cuts, this.#buffers.length, this.#stop, async (cut, lane) => {
      const buffer = this.#buffers[lane];
      if (buffer === undefined) return;
      if (cut.kind === 'hole') await this.#keepZeros(cut.range, zeros, buffer);
      else if (partial.has('checksum') && this.#misses < MISSES) await this.#compareData(cut, zeros, buffer);
      this.#status.change({ done: this.#acknowledged.bytes });
    });
  }

  async #keepZeros(hole: Range, zeros: RangeSet, buffer: Uint8Array): Promise<void> {
    for (const range of zeros.inside(hole)) this.#acknowledged.add(range);
    const length = rangeEnd(hole) % TREE_BLOCK;
    if (length === 0) return;
    const [leaf] = await this.#options.hashing.sha256([buffer.subarray(0, length).fill(0)]);
    if (leaf !== undefined) this.#leafTable.set(Math.floor(rangeEnd(hole) / TREE_BLOCK), leaf);
  }

  async #compareData(cut: SourceCut & { kind: 'data' }, zeros: RangeSet, buffer: Uint8Array): Promise<void> {
    const { hashing, image, offer, source } = this.#options;
    const { range } = cut;
    // It is not there for sure: no need to read it twice.
    if (zeros.contains(range) || (offer.size !== undefined && rangeEnd(range) > offer.size)) return;
    const bytes = buffer.subarray(0, range.length);
    await readCut(source, cut, bytes);
    const blocks = [...cutAt({ offset: 0, length: range.length }, TREE_BLOCK)];
    const leaves = await hashing.sha256(blocks.map(({ offset, length }) => bytes.subarray(offset, offset + length)));
    for (const [i, leaf] of leaves.entries()) this.#leafTable.set(range.offset / TREE_BLOCK + i, leaf);
    const theirs = await patiently(this.#patience, () => image.treeDigest(range));
    const same = theirs === (await this.#leafTable.rangeDigest(range, hashing));
    this.#misses = same ? 0 : this.#misses + 1;
    if (!same) return;
    this.#acknowledged.add(range);
    this.#keptBytes += range.length;
  }

  /** Asked again only when nobody answered: what a failed flush has lost a second one does not find. */
  async #flush(): Promise<void> {
    const { image, offer } = this.#options;
    if (!offer.features.has('flush')) return;
    this.#status.change({ phase: 'flushing' });
    await this.#patience.persist(
      () => image.flush(),
      (error) => error.details.status === undefined,
    );
  }

  async #refuseChanged(): Promise<void> {
    const what = await this.#options.source.changed?.();
    if (what === null || what === undefined) return;
    throw new HawserError('source-changed', `The source changed while it was being uploaded: ${what}.`, {
      details: { next: 'Stop whatever writes it (or upload a snapshot of it), then upload again.' },
    });
  }

  /** As it is now: a file may have grown. */
  async #imageSize(): Promise<number | undefined> {
    const { image, offer } = this.#options;
    if (offer.size !== undefined) return (await patiently(this.#patience, () => image.offer())).size;
    if (!offer.features.has('extents')) return undefined;
    return await patiently(this.#patience, () => endOfExtents(image));
  }

  #verify(imageSize: number | undefined): Promise<boolean> {
    const { hashing, image, offer, source } = this.#options;
    return verifyImageio({
      image,
      offer,
      imageSize,
      size: source.size,
      leafTable: this.#leafTable,
      hashing,
      patience: this.#patience,
      status: this.#status,
      differs: (where) =>
        new HawserError('digest-mismatch', `What the server has ${where} is not what was sent.`, {
          details: { next: 'Run the same command again. If it happens again, its disk or somebody else changes it.' },
        }),
    });
  }
}

function wholeMiB(bytes: number): number {
  return Math.max(MiB, Math.floor(bytes / MiB) * MiB);
}
