import type { ByteSink } from '../core/bytes.ts';
import { cutAt, type Range } from '../core/range.ts';
import type { BlockReader } from '../stores/store.ts';
import type { RateLimit } from './rate-limit.ts';
import { SLAB_BYTES, type Slab, type SlabPool } from './slab-pool.ts';

/** Reads that are under way ahead of the one that is being sent. */
const AHEAD = 3;

const noughts = Buffer.alloc(256 * 1024);

export interface SendRequest {
  readonly reader: BlockReader;
  readonly range: Range;
  readonly slabs: SlabPool;
  readonly limit?: RateLimit | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Sends a range in order: data by pooled reads that run ahead, holes from one buffer of zeros without
 * a read. Ends early with the sink's error or the signal's reason; then nothing more is written.
 */
export async function sendRange(request: SendRequest, sink: ByteSink, signal: AbortSignal): Promise<void> {
  for await (const extent of request.reader.extents(request.range)) {
    signal.throwIfAborted();
    if (extent.kind === 'hole') await sendZeros(request, extent.length, sink, signal);
    else await sendData(request, extent, sink, signal);
  }
}

async function sendZeros(request: SendRequest, length: number, sink: ByteSink, signal: AbortSignal): Promise<void> {
  for (let left = length; left > 0; left -= noughts.length) {
    signal.throwIfAborted();
    const piece = left < noughts.length ? noughts.subarray(0, left) : noughts;
    await sink.write(piece);
    await spend(request, piece.length);
  }
}

interface Reading {
  readonly slab: Slab;
  readonly length: number;
  readonly done: Promise<void>;
}

async function sendData(request: SendRequest, extent: Range, sink: ByteSink, signal: AbortSignal): Promise<void> {
  const pieces = cutAt(extent, SLAB_BYTES);
  const ahead: Reading[] = [];
  try {
    for (;;) {
      await readAhead(request, pieces, ahead, signal);
      const first = ahead[0];
      if (first === undefined) return;
      await first.done;
      signal.throwIfAborted();
      await sink.write(first.slab.bytes.subarray(0, first.length));
      ahead.shift();
      request.slabs.release(first.slab);
      await spend(request, first.length);
    }
  } finally {
    for (const reading of ahead) void reading.done.catch(() => {}).finally(() => request.slabs.release(reading.slab));
  }
}

/** Starts reads until enough are under way. Waits for a slab only when it holds none, so that senders never wait for each other. */
async function readAhead(
  request: SendRequest,
  pieces: Iterator<Range>,
  ahead: Reading[],
  signal: AbortSignal,
): Promise<void> {
  while (ahead.length < AHEAD) {
    const slab = request.slabs.tryAcquire() ?? (ahead.length === 0 ? await request.slabs.acquire(signal) : undefined);
    if (slab === undefined) return;
    const next = pieces.next();
    if (next.done === true) {
      request.slabs.release(slab);
      return;
    }
    const { offset, length } = next.value;
    const done = request.reader.read(slab.bytes.subarray(0, length), offset);
    done.catch(() => {}); // it is thrown where it is awaited
    ahead.push({ slab, length, done });
  }
}

async function spend(request: SendRequest, bytes: number): Promise<void> {
  request.onBytes?.(bytes);
  const wait = request.limit?.spend(bytes) ?? 0;
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
}
