import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import { localExtents } from '../../native/extents.ts';
import { checkInside } from '../key.ts';
import { once } from '../lent.ts';
import type { BlockReader, Extent, LentForReading } from '../store.ts';
import { closeFile, readUpTo, statExactly } from './descriptor.ts';
import { fileFailure } from './failure.ts';
import type { FileFacts } from './folder.ts';

/** A sealed file. Holes are asked for as `extents` is iterated. */
export class FileReader implements BlockReader {
  readonly size: number;
  readonly fingerprint: string;
  readonly fd: number;
  readonly #store: string;
  #outstanding = 0;
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(store: string, fd: number, facts: FileFacts) {
    this.#store = store;
    this.fd = fd;
    this.size = facts.size;
    this.fingerprint = facts.fingerprint;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.#checkOpen();
    checkInside(offset, into.length, this.size);
    this.#outstanding++;
    try {
      const got = await readUpTo(this.fd, into, offset);
      if (got < into.length) throw this.#shrunk();
    } catch (error) {
      throw fileFailure(error, this.#store, 'read');
    } finally {
      this.#left();
    }
  }

  lendForReading(): LentForReading {
    this.#checkOpen();
    this.#outstanding++;
    return { fd: this.fd, place: `store ${this.#store}`, sent: () => {}, giveBack: once(() => this.#left()) };
  }

  async *extents(range: Range): AsyncGenerator<Extent> {
    checkInside(range.offset, range.length, this.size);
    const extents = localExtents(this.fd, rangeEnd(range), range.offset);
    for (;;) {
      this.#checkOpen();
      const next = this.#next(extents);
      if (next === undefined) return;
      // What a file lacks that was longer looks like a hole at its end.
      if (next.kind === 'hole' && rangeEnd(next) === rangeEnd(range)) await this.#mustReach(rangeEnd(range));
      yield next;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.promise;
    this.#closing = Promise.withResolvers();
    if (this.#outstanding === 0) this.#closing.resolve();
    await this.#closing.promise;
    await closeFile(this.fd);
  }

  #left(): void {
    this.#outstanding--;
    if (this.#outstanding === 0) this.#closing?.resolve();
  }

  async #mustReach(end: number): Promise<void> {
    if (Number((await statExactly(this.fd)).size) < end) throw this.#shrunk();
  }

  #next(extents: Iterator<Extent, void>): Extent | undefined {
    try {
      return extents.next().value ?? undefined;
    } catch (error) {
      throw fileFailure(error, this.#store, 'tell holes from data');
    }
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new HawserError('conflict', 'This reader was closed. Open the key again.');
  }

  #shrunk(): HawserError {
    return new HawserError(
      'corrupt',
      `A sealed object of the Store "${this.#store}" is shorter than when it was opened (${this.size} bytes): somebody changed its file. Verify it, and upload it again if it is damaged.`,
      { details: { store: this.#store, size: this.size } },
    );
  }
}
