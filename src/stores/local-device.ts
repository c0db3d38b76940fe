import { constants } from 'node:fs';
import { HawserError, isHawserError } from '../core/errors.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import { alignedBuffer } from '../native/aligned-buffer.ts';
import { type Allocation, allocate, punchHole, zeroRange } from '../native/allocate.ts';
import { blockGeometry } from '../native/block-device.ts';
import { localExtents } from '../native/extents.ts';
import { libc } from '../native/libc.ts';
import type { Device, DeviceExtent, DeviceTraits } from './device.ts';
import { closeFile, openFile, readUpTo, statExactly, syncData, truncateFile, writeAll } from './file/descriptor.ts';
import { WriteQueue } from './file/write-queue.ts';
import { ZeroLadder } from './file/zero-ladder.ts';
import { checkInside } from './key.ts';
import { once, placeOf } from './lent.ts';
import { DIRECT_BLOCK, DirectFile } from './local-direct.ts';
import { deviceFailure } from './local-failure.ts';
import { mergedExtents } from './merged-extents.ts';
import type { LentFile, LentForReading } from './store.ts';

export interface LocalDeviceOptions {
  /**
   * A file or a block device. Links are followed: where it may lie was checked before, and the checked one is
   * named as /proc/self/fd/N.
   */
  readonly path: string;
  readonly writable: boolean;
  /** Zeroing gives the space of a file back; default true. On a block device it is always given back where it can be. */
  readonly sparse?: boolean;
  /** Bytes that a file may grow to: the size of the Device when it is more than the file has now. */
  readonly growTo?: number;
  /** It does so with each write behind its end, and is never longer than what was written: `size` grows with it. */
  readonly growAsWritten?: boolean;
  /** Past the page cache (O_DIRECT), whole blocks of 4096 at least; the edges of other ranges go through it. */
  readonly direct?: boolean;
}

interface Opened {
  readonly fd: number;
  readonly isFile: boolean;
  /** As in LentFile. */
  readonly place: string;
  readonly size: number;
  /** What the place can zero at once. */
  readonly sector: number;
  readonly direct: DirectFile | undefined;
}

const WRITERS = 8;
/** The last rung alone. */
const writtenZeros = new ZeroLadder([]);

/**
 * A file or a block device of this host. Throws `not-found`, `unsupported` for O_DIRECT where the filesystem or
 * the machine has it not, `store-failed`.
 */
export async function openLocalDevice(options: LocalDeviceOptions): Promise<Device> {
  await using undo = new AsyncDisposableStack();
  const { path, writable } = options;
  const fd = await openFile(path, mode(writable)).catch((error: unknown) => {
    throw deviceFailure(error, 'be opened');
  });
  undo.defer(() => closeFile(fd));
  const stat = await statExactly(fd);
  if (!stat.isFile() && !stat.isBlockDevice()) {
    throw new HawserError('store-failed', 'What should be opened as a device is neither a file nor a block device.');
  }
  const geometry = stat.isFile() ? { size: Number(stat.size), sector: 1 } : await blockGeometry(fd, stat.rdev);
  const direct = options.direct === true ? undo.use(await openDirect(path, writable, geometry.sector)) : undefined;
  undo.move();
  return new LocalDevice({ fd, isFile: stat.isFile(), place: placeOf(stat), direct, ...geometry }, options);
}

function mode(writable: boolean): number {
  return (writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK;
}

async function openDirect(path: string, writable: boolean, sector: number): Promise<DirectFile> {
  const block = Math.max(DIRECT_BLOCK, sector);
  try {
    if (alignedBuffer(block, block) === undefined) throw new Error('no aligned memory');
    return new DirectFile(await openFile(path, mode(writable) | constants.O_DIRECT), block);
  } catch (cause) {
    throw new HawserError(
      'unsupported',
      'O_DIRECT was asked for, but this filesystem or machine does not have it. Turn it off.',
      { cause },
    );
  }
}

class LocalDevice implements Device {
  readonly writable: boolean;
  readonly traits: DeviceTraits;
  readonly #at: Opened;
  readonly #queue: WriteQueue;
  readonly #ladder: ZeroLadder;
  /** What may be written lies below it. */
  readonly #limit: number;
  readonly #growAsWritten: boolean;
  /** Of the file, which may have to grow. */
  #length: number;
  #growing: Promise<void> | undefined;
  #outstanding = 0;
  #closing: PromiseWithResolvers<void> | undefined;
  #lost: HawserError | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(at: Opened, { writable, sparse = true, growTo = 0, growAsWritten = false }: LocalDeviceOptions) {
    this.#at = at;
    this.#length = at.size;
    this.#limit = at.isFile ? Math.max(at.size, growTo) : at.size;
    this.#growAsWritten = growAsWritten;
    this.writable = writable;
    const punches = sparse || !at.isFile;
    const able = libc() !== undefined;
    this.#ladder = new ZeroLadder(punches ? [punchHole, zeroRange] : [zeroRange]);
    this.#queue = new WriteQueue(at.fd);
    this.traits = {
      zero: able ? 'native' : 'emulated',
      unmap: able && punches ? 'native' : 'none',
      extents: able && at.isFile ? 'native' : 'none',
      writers: WRITERS,
    };
  }

  get size(): number {
    return this.#growAsWritten ? this.#length : this.#limit;
  }

  async read(into: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    checkInside(offset, into.length, this.size);
    await this.#run('be read', signal, async () => {
      for (const { part, direct } of this.#parts({ offset, length: into.length })) {
        const target = into.subarray(part.offset - offset, rangeEnd(part) - offset);
        const got = await (direct?.read(target, part.offset) ?? readUpTo(this.#at.fd, target, part.offset));
        if (got === target.length) continue;
        if (part.offset + got < this.#length) throw shorter();
        target.fill(0, got);
      }
    });
  }

  async write(from: Buffer, offset: number, signal?: AbortSignal): Promise<void> {
    this.#check({ offset, length: from.length });
    await this.#run('be written', signal, async () => {
      if (!this.#growAsWritten) await this.#grow(offset + from.length);
      for (const { part, direct } of this.#parts({ offset, length: from.length })) {
        const source = from.subarray(part.offset - offset, rangeEnd(part) - offset);
        await (direct?.write(source, part.offset) ?? this.#queue.write(source, part.offset));
      }
      if (from.length > 0) this.#reaches(offset + from.length);
    });
  }

  /** Not with O_DIRECT: what is received has neither its alignment nor always whole blocks. */
  async lend(range: Range): Promise<LentFile | undefined> {
    if (this.#at.direct !== undefined) return undefined;
    this.#check(range);
    if (!this.#growAsWritten) await this.#run('be written', undefined, () => this.#grow(rangeEnd(range)));
    this.#begin();
    return {
      fd: this.#at.fd,
      place: this.#at.place,
      wrote: (written) => this.#reaches(rangeEnd(written)),
      giveBack: once(() => this.#leave()),
    };
  }

  /** Not with O_DIRECT: sendfile(2) goes through the page cache. */
  lendForReading(): LentForReading | undefined {
    if (this.#at.direct !== undefined) return undefined;
    this.#begin();
    return { fd: this.#at.fd, place: this.#at.place, sent: () => {}, giveBack: once(() => this.#leave()) };
  }

  async zero(range: Range, signal?: AbortSignal): Promise<void> {
    this.#check(range);
    await this.#run('be zeroed', signal, async () => {
      const { fd, sector } = this.#at;
      if (!this.#growAsWritten) await this.#grow(rangeEnd(range));
      else if ((await this.#growForZeros(rangeEnd(range))) === 'refused') {
        await writtenZeros.zero(fd, range, signal);
        return this.#reaches(rangeEnd(range));
      }
      const offset = Math.min(Math.ceil(range.offset / sector) * sector, rangeEnd(range));
      const end = Math.max(rangeEnd(range) - (rangeEnd(range) % sector), offset);
      await writeAll(fd, Buffer.alloc(offset - range.offset), range.offset);
      await this.#ladder.zero(fd, { offset, length: end - offset }, signal);
      await writeAll(fd, Buffer.alloc(rangeEnd(range) - end), end);
    });
  }

  /** After one that failed the kernel may have dropped bytes, and the next one would not say so: all later ones fail too. */
  async flush(signal?: AbortSignal): Promise<void> {
    if (!this.writable) return;
    await this.#run('be flushed', signal, () => {
      // One after the other: of several at once the kernel tells only one.
      this.#flushing = this.#flushing.catch(() => {}).then(() => this.#sync()); // the one before has been told
      return this.#flushing;
    });
  }

  extents(range: Range, signal?: AbortSignal): AsyncIterable<DeviceExtent> {
    checkInside(range.offset, range.length, this.size);
    return mergedExtents(this.#extents(range, signal), (a, b) => a.hole === b.hole);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.promise;
    this.#closing = Promise.withResolvers();
    if (this.#outstanding === 0) this.#closing.resolve();
    await this.#closing.promise;
    await closeFile(this.#at.fd);
    await this.#at.direct?.[Symbol.asyncDispose]();
  }

  async *#extents(range: Range, signal: AbortSignal | undefined): AsyncGenerator<DeviceExtent> {
    const end = Math.min(rangeEnd(range), this.#length);
    const told = this.#at.isFile
      ? localExtents(this.#at.fd, Math.max(end, range.offset), range.offset)
      : [{ ...range, kind: 'data' as const }].filter(({ length }) => length > 0).values();
    for (;;) {
      const next = await this.#run('tell holes from data', signal, async () => told.next().value ?? undefined);
      if (next === undefined) break;
      const hole = next.kind === 'hole';
      // What a file lacks that was longer looks like a hole at its end.
      if (hole && rangeEnd(next) === end) await this.#run('tell holes from data', signal, () => this.#mustReach(end));
      yield { offset: next.offset, length: next.length, zero: hole, hole };
    }
    const behind = Math.max(end, range.offset);
    if (behind < rangeEnd(range)) yield { offset: behind, length: rangeEnd(range) - behind, zero: true, hole: true };
  }

  async #mustReach(end: number): Promise<void> {
    if (Number((await statExactly(this.#at.fd)).size) < end) throw shorter();
  }

  async #sync(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      await syncData(this.#at.fd);
    } catch (error) {
      this.#lost = deviceFailure(error, 'be flushed', { unsyncedLost: true });
      throw this.#lost;
    }
  }

  /** With O_DIRECT the whole blocks of a range go past the page cache. */
  *#parts(range: Range): Generator<{ readonly part: Range; readonly direct: DirectFile | undefined }> {
    const { direct } = this.#at;
    const block = direct?.block ?? 1;
    const from = Math.ceil(range.offset / block) * block;
    // The last block of a file may be a short one, and writing it whole would make the file longer.
    const last = Math.min(rangeEnd(range), this.#length);
    const to = last - (last % block);
    if (direct === undefined || from >= to) return yield { part: range, direct: undefined };
    if (from > range.offset) yield { part: { offset: range.offset, length: from - range.offset }, direct: undefined };
    yield { part: { offset: from, length: to - from }, direct };
    const end = rangeEnd(range);
    if (end > to) yield { part: { offset: to, length: end - to }, direct: undefined };
  }

  /** To the whole size at once, so that a later write or zero need not care. */
  async #grow(needed: number): Promise<void> {
    while (needed > this.#length) {
      this.#growing ??= this.#growTo(this.#limit);
      await this.#growing;
    }
  }

  async #growTo(length: number): Promise<void> {
    try {
      await truncateFile(this.#at.fd, length);
      this.#reaches(length);
    } finally {
      this.#growing = undefined;
    }
  }

  /**
   * For zeros behind the end of a file that grows as it is written. ftruncate(2) would cut off what others wrote
   * behind `end` meanwhile, through a lent descriptor or another Device; this makes nothing shorter.
   */
  async #growForZeros(end: number): Promise<Allocation> {
    if (end <= this.#length) return 'done';
    const grown = await allocate(this.#at.fd, end - 1, 1);
    if (grown === 'done') this.#reaches(end);
    return grown;
  }

  #reaches(end: number): void {
    this.#length = Math.max(this.#length, end);
  }

  async #run<T>(doing: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    this.#begin();
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw isHawserError(error) ? error : deviceFailure(error, doing);
    } finally {
      this.#leave();
    }
  }

  #begin(): void {
    if (this.#closing !== undefined) throw new HawserError('conflict', 'This device was closed. Open it again.');
    this.#outstanding++;
  }

  #leave(): void {
    this.#outstanding--;
    if (this.#outstanding === 0) this.#closing?.resolve();
  }

  #check({ offset, length }: Range): void {
    checkInside(offset, length, this.#limit);
    if (this.writable) return;
    throw new HawserError('forbidden', 'This device is open for reading only. Open it for writing.');
  }
}

function shorter(): HawserError {
  return new HawserError(
    'source-changed',
    'The file became shorter than it was when it was opened: somebody changed it. Open it again.',
  );
}
