import type { ImageResource } from '../contract/api/image.ts';
import type { BackoffLimits } from '../core/backoff.ts';
import { leafCount } from '../core/digest.ts';
import { HawserError } from '../core/errors.ts';
import { following, inLanes } from '../core/in-lanes.ts';
import { rangeEnd } from '../core/range.ts';
import type { ApiClient } from './api-client.ts';
import { DataRoute } from './data-route.ts';
import type { DownloadSink } from './download-sink.ts';
import { FetchedBlocks } from './fetched-blocks.ts';
import { LeafTable } from './leaf-table.ts';
import { Patience } from './patience.ts';
import type { Clock, DownloadTransport, FileSource, Hashing, SourceExtent } from './ports.ts';
import { cutSource } from './source-cuts.ts';
import type { Waiting } from './upload-progress.ts';
import { cachedLeaves } from './verify-received.ts';

export interface DownloadOptions {
  readonly api: ApiClient;
  /** A ready Image. */
  readonly image: ImageResource;
  readonly sink: DownloadSink;
  readonly transport: DownloadTransport;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** GETs at a time; default 4. */
  readonly parallel?: number;
  /** Bytes of one GET, a multiple of 1 MiB; default 4 MiB. */
  readonly maxChunk?: number;
  /** Fetch straight from the data listener with a ticket. */
  readonly direct?: boolean;
  readonly stallMs?: number;
  readonly giveUpMs?: number;
  readonly backoff?: BackoffLimits;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

export interface DownloadProgress {
  readonly phase: 'fetching' | 'done';
  /** Written, found there already, or hole. */
  readonly done: number;
  readonly total: number;
  readonly fetched: number;
  readonly kept: number;
  readonly holes: number;
  readonly waiting: Waiting | null;
}

export interface DownloadOutcome {
  readonly treeDigest: string;
  readonly size: number;
  readonly fetchedBytes: number;
  readonly keptBytes: number;
  readonly holeBytes: number;
}

const MiB = 1024 * 1024;

/**
 * Fetches an Image: only its data, block by block compared with its digest tree while it is written.
 * What a run before left in the sink is compared too and kept where it is right. Throws `corrupt`
 * when a block stays wrong, `source-changed` when the Image is not the same any more.
 */
export async function downloadImage(options: DownloadOptions): Promise<DownloadOutcome> {
  const { api, clock, hashing, image, maxChunk = 4 * MiB, sink } = options;
  const size = sizeOf(image);
  const { controller: stop, release } = following(options.signal);
  const { signal } = stop;
  let progress: DownloadProgress = {
    phase: 'fetching',
    done: 0,
    total: size,
    fetched: 0,
    kept: 0,
    holes: 0,
    waiting: null,
  };
  const change = (next: Partial<DownloadProgress>) => {
    progress = { ...progress, ...next };
    progress = { ...progress, done: progress.fetched + progress.kept + progress.holes };
    options.onProgress?.(progress);
  };
  const patience = new Patience({
    clock,
    signal,
    giveUpMs: options.giveUpMs ?? 24 * 3600 * 1000,
    ...(options.backoff === undefined ? {} : { backoff: options.backoff }),
    onWaiting: (waiting) => change({ waiting }),
  });
  const leafTable = new LeafTable();
  const owner = { kind: 'image', id: image.id } as const;
  const blocks = new FetchedBlocks({
    size,
    sink,
    hashing,
    leafTable,
    clock,
    signal,
    patience,
    stallMs: options.stallMs ?? 60_000,
    transport: options.transport,
    route: routeOf(options, signal),
    leaves: cachedLeaves(
      (first, count) => patience.persist(() => api.leaves(owner, { first, count }, signal)),
      leafCount(size),
    ),
    onFetched: (bytes) => change({ fetched: progress.fetched + bytes }),
    onKept: (bytes) => change({ kept: progress.kept + bytes }),
  });
  const lanes = sink.ordered ? 1 : (options.parallel ?? 4);
  const buffers = Array.from({ length: lanes }, () => hashing.allocate(Math.min(maxChunk, Math.max(MiB, size))));
  try {
    const cuts = cutSource(remoteSource(options, patience, signal), { offset: 0, length: size }, maxChunk);
    await inLanes(cuts, lanes, stop, async (cut, lane) => {
      const buffer = buffers[lane];
      if (buffer === undefined) return;
      if (cut.kind === 'data') return await blocks.obtain(cut.range, buffer.subarray(0, cut.range.length));
      await sink.hole(cut.range);
      await blocks.noteHole(cut.range, buffer);
      change({ holes: progress.holes + cut.range.length });
    });
    const treeDigest = await leafTable.treeDigest(size, hashing);
    refuseOtherTree(image, treeDigest);
    change({ phase: 'done', waiting: null });
    const { fetched, holes, kept } = progress;
    return { treeDigest, size, fetchedBytes: fetched, keptBytes: kept, holeBytes: holes };
  } finally {
    release();
    stop.abort();
  }
}

function routeOf({ api, direct = false, image }: DownloadOptions, signal: AbortSignal): DataRoute {
  return new DataRoute({
    relay: { url: api.urlOf(`/images/${image.id}/data`), headers: api.authorization },
    wallClock: Date.now,
    ...(direct ? { access: () => api.imageAccess(image.id, signal) } : {}),
  });
}

/** The Image as something to cut: its extents, asked for page by page as the walk comes to them. */
function remoteSource({ api, image }: DownloadOptions, patience: Patience, signal: AbortSignal): FileSource {
  return {
    kind: 'file',
    size: sizeOf(image),
    fingerprint: image.id,
    read: () => Promise.reject(new TypeError('an image is fetched, not read')),
    async *extents(range): AsyncGenerator<SourceExtent> {
      let from: number | null = range.offset;
      while (from !== null && from < rangeEnd(range)) {
        const at: number = from;
        const page = await patience.persist(() => api.extents(image.id, at, signal));
        yield* page.extents;
        from = page.next;
      }
    },
  };
}

function sizeOf(image: ImageResource): number {
  if (image.state === 'ready' && image.size !== null) return image.size;
  throw new HawserError('conflict', `The image "${image.name}" is ${image.state}, not ready.`, {
    details: { next: 'Wait until its upload has finished (hawser task ls).', imageId: image.id },
  });
}

function refuseOtherTree(image: ImageResource, treeDigest: string): void {
  const wanted = image.digests.find((digest) => digest.startsWith('tree-sha256:'));
  if (wanted === undefined || wanted === `tree-sha256:${treeDigest}`) return;
  throw new HawserError(
    'corrupt',
    `The image "${image.name}" has ${wanted}, and what was fetched has tree-sha256:${treeDigest}.`,
    { details: { next: `Check the stored copy: hawser image verify ${image.id}`, imageId: image.id } },
  );
}
