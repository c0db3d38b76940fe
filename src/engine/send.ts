import type { ByteSink } from '../core/bytes.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Sender } from '../core/sender.ts';
import type { BlockReader } from '../stores/store.ts';
import type { RateLimit } from './rate-limit.ts';
import { sendFile } from './send-file.ts';
import { SLAB_BYTES, type SlabPool } from './slab-pool.ts';

/** Reads that are under way ahead of the one that is being sent. */
const AHEAD = 3;

/** Of all slabs, what stays for those who receive and verify: a reader that stalls keeps its slabs as long as it likes. */
const FOR_OTHERS = 0.5;

/** A reader that gets no slab reads this much at a time into a buffer of its own. */
const SMALL = 64 * 1024;

const noughts = Buffer.alloc(256 * 1024);

export interface SendRequest {
  readonly reader: Pick<BlockReader, 'read' | 'extents' | 'lendForReading'>;
  readonly range: Range;
  /** A thread that sends files by itself; undefined where there is none. */
  readonly sender?: Sender | undefined;
  readonly slabs: SlabPool;
  readonly limit?: RateLimit | undefined;
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Sends a range in order: by a sender where file and connection can be lent to it, else data by pooled reads that
 * run ahead, and holes from one buffer of zeros without a read. Ends early with the sink's error or the signal's reason; then nothing more is written.
 */
export async function sendRange(request: SendRequest, sink: ByteSink, signal: AbortSignal): Promise<void> {
  const sent = await sendByThread(request, sink, signal);
  if (sent === request.range.length) return;
  const rest = { offset: request.range.offset + sent, length: request.range.length - sent };
  for await (const extent of request.reader.extents(rest)) {
    signal.throwIfAborted();
    if (extent.kind === 'hole') await sendZeros(request, extent.length, sink, signal);
    else await sendData(request, extent, sink, signal);
  }
}

/** Bytes that were sent. */
async function sendByThread(request: SendRequest, sink: ByteSink, signal: AbortSignal): Promise<number> {
  const { sender, reader, range, limit, onBytes } = request;
  // Whatever holds the bytes up needs the ordinary path.
  if (sender === undefined || limit !== undefined) return 0;
  const extents = () => reader.extents(range);
  return sendFile({ sender, range, extents, lend: () => reader.lendForReading?.(), onBytes }, sink, signal);
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
  readonly bytes: Buffer;
  readonly release: () => void;
  readonly done: Promise<void>;
}

async function sendData(request: SendRequest, extent: Range, sink: ByteSink, signal: AbortSignal): Promise<void> {
  const ahead: Reading[] = [];
  let next = extent.offset;
  try {
    for (;;) {
      while (ahead.length < AHEAD && next < rangeEnd(extent)) {
        const reading = read(request, next, extent, ahead.length === 0);
        if (reading === undefined) break;
        ahead.push(reading);
        next += reading.bytes.length;
      }
      const first = ahead[0];
      if (first === undefined) return;
      await first.done;
      signal.throwIfAborted();
      await sink.write(first.bytes);
      ahead.shift();
      first.release();
      await spend(request, first.bytes.length);
    }
  } finally {
    for (const { done, release } of ahead) void done.catch(() => {}).finally(release);
  }
}

/** Begins to read from `offset`. Without a free slab: nothing, or little when it `must`; nobody ever waits for a stalled reader. */
function read({ slabs, reader }: SendRequest, offset: number, extent: Range, must: boolean): Reading | undefined {
  const slab = slabs.tryAcquire(FOR_OTHERS);
  if (slab === undefined && !must) return undefined;
  const step = slab === undefined ? SMALL : SLAB_BYTES;
  const length = Math.min((Math.floor(offset / step) + 1) * step, rangeEnd(extent)) - offset;
  const bytes = slab === undefined ? Buffer.alloc(length) : slab.bytes.subarray(0, length);
  const done = reader.read(bytes, offset);
  done.catch(() => {}); // it is thrown where it is awaited
  return { bytes, done, release: () => slab !== undefined && slabs.release(slab) };
}

async function spend(request: SendRequest, bytes: number): Promise<void> {
  request.onBytes?.(bytes);
  const wait = request.limit?.spend(bytes) ?? 0;
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
}
