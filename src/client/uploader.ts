import type { ImageResource } from '../contract/api/image.ts';
import type { UploadResource } from '../contract/api/upload.ts';
import { leafCount } from '../core/digest.ts';
import { HawserError, isHawserError } from '../core/errors.ts';
import { following } from '../core/in-lanes.ts';
import { RangeSet } from '../core/range.ts';
import { Acknowledged } from './acknowledged.ts';
import { ChunkSizer } from './chunk-sizer.ts';
import { DataRoute } from './data-route.ts';
import { Delivery } from './delivery.ts';
import { type Found, findOrBegin } from './find-upload.ts';
import { LeafTable } from './leaf-table.ts';
import { Patience } from './patience.ts';
import { sendFile, sendStream } from './send-source.ts';
import type { UploadOptions } from './upload-options.ts';
import { UploadStatus } from './upload-progress.ts';
import { cachedLeaves, fragmentsByBlock, type ServerContent, verifyReceived } from './verify-received.ts';

export interface UploadOutcome {
  readonly upload: UploadResource;
  readonly image: ImageResource;
  /** hex of tree-sha256, computed from the source and equal to what the server has. */
  readonly treeDigest: string;
  /** `begun`, `resumed`, or `there`: it had been finished before and was only compared. */
  readonly how: Found['kind'];
  readonly sentBytes: number;
  readonly zeroBytes: number;
  /** Compared on resume. */
  readonly verifiedBytes: number;
}

const MiB = 1024 * 1024;
const ROUNDS = 5;

/**
 * Uploads `source`, or goes on with an unfinished Upload of it: compares what the server has with the
 * source, sends what is missing, finishes with the tree digest of what was read. Outlasts broken
 * connections and restarts of the server. Aborting `signal` loses nothing that was acknowledged; the
 * promise then rejects with its reason. Throws `source-changed` when the source is not the one that
 * was begun or changes underway.
 */
export async function uploadSource(options: UploadOptions): Promise<UploadOutcome> {
  const { controller: stop, release } = following(options.signal);
  try {
    return await new RunningUpload(options, stop).run();
  } finally {
    release();
    stop.abort();
  }
}

class RunningUpload {
  readonly #options: UploadOptions;
  readonly #stop: AbortController;
  readonly #status: UploadStatus;
  readonly #patience: Patience;
  readonly #leafTable = new LeafTable();
  readonly #acknowledged = new Acknowledged();
  readonly #buffers: readonly Uint8Array[];
  #verifiedBytes = 0;

  constructor(options: UploadOptions, stop: AbortController) {
    this.#options = options;
    this.#stop = stop;
    const status = new UploadStatus(options.onProgress);
    this.#status = status;
    this.#patience = new Patience({
      clock: options.clock,
      signal: stop.signal,
      giveUpMs: options.giveUpMs ?? 24 * 3600 * 1000,
      ...(options.backoff === undefined ? {} : { backoff: options.backoff }),
      onWaiting: (waiting) => status.change({ waiting }),
    });
    const size = bufferSize(options);
    this.#buffers = Array.from({ length: laneCount(options) }, () => options.hashing.allocate(size));
  }

  async run(): Promise<UploadOutcome> {
    const found = await findOrBegin(this.#options, this.#patience, this.#stop.signal);
    const { upload } = found;
    this.#status.change({
      uploadId: upload.id,
      imageId: upload.imageId,
      taskId: upload.taskId,
      total: this.#options.source.size,
    });
    if (found.kind === 'there') return await this.#compareFinished(found);
    const content = found.kind === 'resumed' ? await this.#content(upload) : emptyContent;
    for (const range of content.ranges) this.#acknowledged.add(range);
    await this.#verify(content);
    const delivery = this.#delivery(upload);
    return await this.#deliver(found, delivery, content);
  }

  async #deliver(found: Found, delivery: Delivery, content: ServerContent): Promise<UploadOutcome> {
    const { source } = this.#options;
    for (let round = 1; ; round++) {
      this.#status.change({ phase: 'sending', done: this.#acknowledged.bytes, total: source.size });
      const size = await this.#send(delivery, content);
      await delivery.refresh();
      const complete = this.#acknowledged.contains({ offset: 0, length: size });
      if (complete) {
        try {
          return await this.#finish(found, size);
        } catch (error) {
          if (!isHawserError(error, 'incomplete') || round >= ROUNDS || source.kind === 'stream') throw error;
        }
      } else if (source.kind === 'stream' || round >= ROUNDS) throw lostError(found.upload);
    }
  }

  #send(delivery: Delivery, content: ServerContent): Promise<number> {
    const { hashing, source } = this.#options;
    const parts = {
      delivery,
      hashing,
      acknowledged: this.#acknowledged,
      leafTable: this.#leafTable,
      buffers: this.#buffers,
      stop: this.#stop,
    };
    return source.kind === 'file' ? sendFile(source, parts) : sendStream(source, content, parts);
  }

  async #finish(found: Found, size: number): Promise<UploadOutcome> {
    const { api, hashing, source } = this.#options;
    this.#status.change({ phase: 'finishing' });
    await this.#refuseChanged();
    const treeDigest = await this.#leafTable.treeDigest(size, hashing);
    const request = { size, digest: `tree-sha256:${treeDigest}` };
    const { upload, image } = await this.#patience.persist(() =>
      api.finishUpload(found.upload.id, request, this.#stop.signal),
    );
    const total = source.size ?? size;
    this.#status.change({ phase: 'done', done: total, total, waiting: null });
    return this.#outcome({ ...found, upload }, image, treeDigest);
  }

  #outcome(found: Found, image: ImageResource, treeDigest: string): UploadOutcome {
    return {
      upload: found.upload,
      image,
      treeDigest,
      how: found.kind,
      sentBytes: this.#status.now.sent,
      zeroBytes: this.#status.now.zeros,
      verifiedBytes: this.#verifiedBytes,
    };
  }

  /** It was finished before, perhaps by a run that did not live to hear so: compare, and say so. */
  async #compareFinished(found: Extract<Found, { kind: 'there' }>): Promise<UploadOutcome> {
    const { api, hashing, source } = this.#options;
    const size = source.size ?? 0;
    const signal = this.#stop.signal;
    await this.#verify({
      ranges: RangeSet.of([{ offset: 0, length: size }]),
      zeros: new RangeSet(),
      fragments: new Map(),
      leaves: this.#leaves((first, count) =>
        api.leaves({ kind: 'image', id: found.image.id }, { first, count }, signal),
      ),
    });
    await this.#refuseChanged();
    const treeDigest = await this.#leafTable.treeDigest(size, hashing);
    this.#status.change({ phase: 'done', done: size, total: size });
    return this.#outcome(found, found.image, treeDigest);
  }

  async #verify(content: ServerContent): Promise<void> {
    const { hashing, source } = this.#options;
    if (source.kind === 'stream' || content.ranges.bytes === 0) return;
    this.#status.change({ phase: 'verifying', done: 0, total: content.ranges.bytes });
    await verifyReceived({
      source,
      content,
      hashing,
      leafTable: this.#leafTable,
      buffers: this.#buffers,
      stop: this.#stop,
      onCompared: (bytes) => {
        this.#verifiedBytes += bytes;
        this.#status.change({ done: this.#verifiedBytes });
      },
    });
  }

  async #content(upload: UploadResource): Promise<ServerContent> {
    const { api } = this.#options;
    const signal = this.#stop.signal;
    const received = await this.#patience.persist(() => api.ranges(upload.id, signal));
    return {
      ranges: RangeSet.of(received.ranges),
      zeros: RangeSet.of(received.zeros),
      fragments: fragmentsByBlock(received.fragments),
      leaves: this.#leaves((first, count) => api.leaves({ kind: 'upload', id: upload.id }, { first, count }, signal)),
    };
  }

  #leaves(ask: (first: number, count: number) => Promise<Uint8Array>): ServerContent['leaves'] {
    const total = leafCount(this.#options.source.size ?? Number.MAX_SAFE_INTEGER);
    return cachedLeaves((first, count) => this.#patience.persist(() => ask(first, count)), total);
  }

  async #refuseChanged(): Promise<void> {
    const { source } = this.#options;
    const what = source.kind === 'file' ? await source.changed?.() : null;
    if (what === null || what === undefined) return;
    throw new HawserError('source-changed', `The source changed while it was being uploaded: ${what}.`, {
      details: { next: 'Stop whatever writes it (or upload a snapshot of it), then upload again.' },
    });
  }

  #delivery(upload: UploadResource): Delivery {
    const { api, clock, direct = false, source, stallMs = 60_000, transport } = this.#options;
    const signal = this.#stop.signal;
    const relay = { url: api.urlOf(`/uploads/${upload.id}/data`), headers: api.authorization };
    return new Delivery({
      api,
      uploadId: upload.id,
      size: source.size,
      acknowledged: this.#acknowledged,
      route: new DataRoute({
        relay,
        wallClock: Date.now,
        ...(direct ? { access: () => api.uploadAccess(upload.id, signal) } : {}),
      }),
      sizer: new ChunkSizer(Math.min(upload.chunkSize, bufferSize(this.#options))),
      patience: this.#patience,
      transport,
      clock,
      signal,
      status: this.#status,
      stallMs,
    });
  }
}

const emptyContent: ServerContent = {
  ranges: new RangeSet(),
  zeros: new RangeSet(),
  fragments: new Map(),
  leaves: () => Promise.resolve(new Uint8Array()),
};

function laneCount({ parallel = 4 }: UploadOptions): number {
  return Math.max(1, Math.min(64, Math.floor(parallel)));
}

/** Whole blocks; no larger than what there is to send. */
function bufferSize({ maxChunk = 8 * MiB, source }: UploadOptions): number {
  const most = Math.max(MiB, Math.floor(maxChunk / MiB) * MiB);
  return source.size === null ? most : Math.min(most, Math.max(MiB, Math.ceil(source.size / MiB) * MiB));
}

function lostError(upload: UploadResource): HawserError {
  return new HawserError(
    'incomplete',
    `The server lost bytes of "${upload.name}" that it had received (a power cut, a failing store), and they cannot be read from the source again now.`,
    { details: { next: 'Run the upload again; it goes on with what is there.', uploadId: upload.id } },
  );
}
