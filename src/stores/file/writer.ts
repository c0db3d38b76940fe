import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import { copyRange, reflink } from '../../native/copy.ts';
import { localExtents } from '../../native/extents.ts';
import { checkInside, checkRange } from '../key.ts';
import { once } from '../lent.ts';
import type { BlockWriter, LentFile, Placement } from '../store.ts';
import { closeFile, readUpTo, statFile, syncData, syncFile, truncateFile } from './descriptor.ts';
import { fileFailure } from './failure.ts';
import type { Folder } from './folder.ts';
import { WriteQueue } from './write-queue.ts';
import type { ZeroLadder } from './zero-ladder.ts';

/** What a writer needs of its Store. */
export interface WriterPlace {
  readonly store: string;
  readonly folder: Folder;
  readonly ladder: ZeroLadder;
  /** Called once, when the file is closed. */
  readonly released: () => void;
}

export interface WrittenFile {
  readonly key: string;
  readonly fd: number;
  readonly inode: bigint;
  readonly size: number;
}

type State = 'open' | 'moved' | 'sealed' | 'discarded';

/**
 * A file below `incoming`. Reads, writes and zeros run side by side; what changes the size or the
 * place runs alone, so that a truncate never cuts off a write that grows the file at that moment.
 */
export class FileWriter implements BlockWriter {
  readonly key: string;
  readonly placement: Placement = { order: 'any', grain: 1 };
  readonly #place: WriterPlace;
  readonly #fd: number;
  readonly #queue: WriteQueue;
  readonly #inode: bigint;
  /** The end of all that was written, zeroed or set with success. */
  #size: number;
  /** The end of all writes that ever began: behind it there is nothing but a hole. */
  #touched: number;
  #state: State = 'open';
  #outstanding = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #barrier: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #closed = false;
  /** Set by the first flush that failed: the kernel may have dropped what was unsynced, and the next sync would not tell. */
  #lost: HawserError | undefined;

  constructor(place: WriterPlace, file: WrittenFile) {
    this.#place = place;
    this.key = file.key;
    this.#fd = file.fd;
    this.#queue = new WriteQueue(file.fd);
    this.#inode = file.inode;
    this.#size = file.size;
    this.#touched = file.size;
  }

  async write(buffer: Uint8Array, offset: number): Promise<void> {
    while (this.#barrier !== undefined) await this.#barrier;
    this.#checkWritable();
    checkRange(offset, buffer.length);
    const end = offset + buffer.length;
    this.#touched = Math.max(this.#touched, end);
    this.#outstanding++;
    try {
      await this.#queue.write(buffer, offset);
      // An empty write lets nothing grow, as the system has it.
      if (buffer.length > 0) this.#size = Math.max(this.#size, end);
    } catch (error) {
      throw this.#failure(error, 'write');
    } finally {
      this.#left();
    }
  }

  async lend(range: Range): Promise<LentFile> {
    while (this.#barrier !== undefined) await this.#barrier;
    this.#checkWritable();
    checkRange(range.offset, range.length);
    this.#touched = Math.max(this.#touched, rangeEnd(range));
    this.#outstanding++;
    return {
      fd: this.#fd,
      place: `store ${this.#place.store}`,
      wrote: (written) => {
        this.#size = Math.max(this.#size, rangeEnd(written));
      },
      giveBack: once(() => this.#left()),
    };
  }

  /** Takes over the `size` bytes of another file: shares its blocks where the filesystem can, else copies its data in the kernel. */
  async fillFrom(fd: number, size: number): Promise<void> {
    await this.#alone(async () => {
      this.#checkWritable();
      try {
        if (!(await reflink(fd, this.#fd))) {
          for (const extent of localExtents(fd, size)) {
            if (extent.kind === 'hole') continue;
            const { offset, length } = extent;
            const copied = await copyRange({ fd, offset }, { fd: this.#fd, offset }, length);
            if (copied < length) throw this.#shrunk();
          }
        }
        await truncateFile(this.#fd, size);
      } catch (error) {
        throw this.#failure(error, 'clone an object');
      }
      this.#size = size;
      this.#touched = size;
    });
  }

  async zero(range: Range, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    checkRange(range.offset, range.length);
    if (range.length === 0) return;
    const { offset } = range;
    const end = rangeEnd(range);
    const touched = this.#touched;
    if (end > this.#size) await this.#behindBarrier(() => this.#grow(end));
    while (this.#barrier !== undefined) await this.#barrier;
    this.#checkWritable();
    this.#outstanding++;
    try {
      await this.#place.ladder.zero(this.#fd, { offset, length: Math.min(end, touched) - offset }, signal);
    } catch (error) {
      throw signal?.aborted === true && error === signal.reason ? error : this.#failure(error, 'zero a range');
    } finally {
      this.#left();
    }
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    while (this.#barrier !== undefined) await this.#barrier;
    this.#checkOpen();
    checkInside(offset, into.length, this.#size);
    this.#outstanding++;
    try {
      const got = await readUpTo(this.#fd, into, offset);
      if (got < into.length) throw this.#shrunk();
    } catch (error) {
      throw this.#failure(error, 'read back');
    } finally {
      this.#left();
    }
  }

  async flush(): Promise<void> {
    while (this.#barrier !== undefined) await this.#barrier;
    this.#checkWritable();
    this.#outstanding++;
    try {
      await this.#sync(syncData);
    } finally {
      this.#left();
    }
  }

  async resize(size: number): Promise<void> {
    await this.#alone(async () => {
      this.#checkWritable();
      await truncateFile(this.#fd, size).catch((error) => {
        throw this.#failure(error, 'set the size');
      });
      this.#size = size;
      this.#touched = size;
    });
  }

  async seal(size: number): Promise<void> {
    await this.#alone(async () => {
      if ((this.#state === 'moved' || this.#state === 'sealed') && size !== this.#size) {
        throw new HawserError('conflict', `The object is sealed with ${this.#size} bytes; it cannot get ${size}.`);
      }
      try {
        if (this.#state !== 'moved' && this.#state !== 'sealed') await this.#finish(size);
        if (this.#state === 'sealed') return;
        await this.#place.folder.sync('objects');
        await this.#place.folder.sync('incoming');
        this.#state = 'sealed';
      } catch (error) {
        throw this.#failure(error, 'seal');
      }
    });
  }

  async discard(): Promise<void> {
    await this.#alone(async () => {
      if (this.#state === 'moved' || this.#state === 'sealed') {
        throw new HawserError('conflict', 'The object is sealed: remove it from the Store instead.');
      }
      if (this.#state === 'discarded') return;
      this.#checkOpen();
      const { folder } = this.#place;
      try {
        if (await this.#isInPlace()) await folder.unlink('incoming', this.key);
        await folder.sync('incoming');
      } catch (error) {
        throw this.#failure(error, 'remove');
      }
      this.#state = 'discarded';
    });
    await this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#alone(async () => {
      this.#closed = true;
      this.#place.released();
      await closeFile(this.#fd);
    });
    return this.#closing;
  }

  /** Ends it because its key is being removed: nothing is sealed by it any more. */
  async abandon(): Promise<void> {
    await this.#alone(async () => {
      if (this.#state === 'open') this.#state = 'discarded';
    });
    await this[Symbol.asyncDispose]();
  }

  /** All of seal that comes before the new name. The kernel may be asked again after any failure but a sync's. */
  async #finish(size: number): Promise<void> {
    this.#checkWritable();
    const { size: now } = await statFile(this.#fd);
    if (now !== size) await truncateFile(this.#fd, size);
    this.#size = size;
    await this.#sync(syncFile);
    if (!(await this.#isInPlace())) {
      throw new HawserError('not-found', `What was written under ${this.key} was removed meanwhile.`);
    }
    await this.#place.folder.publish(this.key);
    this.#state = 'moved';
  }

  /** Whether the name still means our file: it may have been removed and begun anew. */
  async #isInPlace(): Promise<boolean> {
    const facts = await this.#place.folder.look('incoming', this.key);
    return facts !== undefined && facts.inode === this.#inode;
  }

  /** Truncates up, so that no write that has begun is cut off; those to come wait at the barrier. */
  async #grow(end: number): Promise<void> {
    this.#checkWritable();
    if (end <= this.#size) return;
    const size = this.#outstanding > 0 ? Math.max(end, this.#touched) : end;
    await truncateFile(this.#fd, size).catch((error) => {
      throw this.#failure(error, 'grow an object');
    });
    this.#size = Math.max(this.#size, end);
  }

  async #sync(sync: (fd: number) => Promise<void>): Promise<void> {
    try {
      await sync(this.#fd);
    } catch (error) {
      this.#lost ??= unsyncedLost(this.#failure(error, 'put on the device what was written'));
      throw this.#lost;
    }
  }

  #alone<T>(run: () => Promise<T>): Promise<T> {
    return this.#behindBarrier(async () => {
      if (this.#outstanding > 0) {
        this.#idle = Promise.withResolvers();
        await this.#idle.promise;
        this.#idle = undefined;
      }
      return run();
    });
  }

  /** Nothing new begins while it runs; what has begun goes on. */
  async #behindBarrier<T>(run: () => Promise<T>): Promise<T> {
    while (this.#barrier !== undefined) await this.#barrier;
    const barrier = Promise.withResolvers<void>();
    this.#barrier = barrier.promise;
    try {
      return await run();
    } finally {
      this.#barrier = undefined;
      barrier.resolve();
    }
  }

  #left(): void {
    this.#outstanding--;
    if (this.#outstanding === 0) this.#idle?.resolve();
  }

  #checkWritable(): void {
    this.#checkOpen();
    if (this.#lost !== undefined) throw this.#lost;
    if (this.#state !== 'open') throw new HawserError('conflict', 'The object is sealed; its bytes never change.');
  }

  #checkOpen(): void {
    if (this.#closed || this.#state === 'discarded') {
      throw new HawserError('conflict', 'This writer was closed. Reopen the key to go on.');
    }
  }

  #shrunk(): HawserError {
    return new HawserError(
      'corrupt',
      `An object being written to the Store "${this.#place.store}" is shorter than what was written (${this.#size} bytes): somebody changed its file. Discard it and send it again.`,
      { details: { store: this.#place.store, size: this.#size } },
    );
  }

  #failure(error: unknown, doing: string): HawserError {
    return fileFailure(error, this.#place.store, doing);
  }
}

function unsyncedLost({ code, message, details, cause }: HawserError): HawserError {
  return new HawserError(
    code,
    `${message} Bytes written since the last flush may be gone: they have to be verified before they count.`,
    { details: { ...details, unsyncedLost: true }, cause },
  );
}
