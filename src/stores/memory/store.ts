import { HawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import { checkInside, checkKey, checkRange } from '../key.ts';
import type {
  BlockReader,
  BlockWriter,
  CreateRequest,
  Extent,
  ObjectStat,
  Placement,
  Store,
  StoreTraits,
  StoreUsage,
} from '../store.ts';
import { type Budget, PAGE, Pages } from './pages.ts';

export interface MemoryStoreOptions {
  readonly name: string;
  /** Bytes; rounded down to whole pages of 64 KiB. */
  readonly capacity: number;
}

/** Objects in memory, gone with the process: what tests use instead of a mock. */
export function openMemoryStore(options: MemoryStoreOptions): Store {
  return new MemoryStore(options);
}

interface MemoryObject {
  readonly key: string;
  readonly pages: Pages;
  readonly serial: number;
  sealed: boolean;
  writer: MemoryWriter | undefined;
}

class MemoryStore implements Store, Budget {
  readonly kind = 'memory';
  readonly traits: StoreTraits = {
    sizeHint: 'ignored',
    zero: 'native',
    unmap: 'native',
    extents: 'native',
    resize: 'native',
    snapshots: 'none',
  };
  readonly #name: string;
  readonly #capacity: number;
  readonly #objects = new Map<string, MemoryObject>();
  #used = 0;
  #serial = 0;

  constructor({ name, capacity }: MemoryStoreOptions) {
    this.#name = name;
    this.#capacity = Math.floor(capacity / PAGE) * PAGE;
  }

  async create({ key, size, preallocate }: CreateRequest): Promise<BlockWriter> {
    checkKey(key);
    const there = this.#objects.get(key);
    if (there !== undefined) throw this.#taken(there.sealed ? 'is sealed' : 'is being written');
    const pages = new Pages(this);
    if (size !== undefined) {
      if (preallocate === true) pages.allocate({ offset: 0, length: size });
      pages.resize(size);
    }
    this.#serial++;
    const object: MemoryObject = { key, pages, serial: this.#serial, sealed: false, writer: undefined };
    this.#objects.set(key, object);
    return this.#writer(object);
  }

  async reopen(key: string): Promise<BlockWriter> {
    const object = this.#find(key);
    if (object.sealed) throw this.#taken('is sealed');
    if (object.writer !== undefined) {
      throw new HawserError('in-use', `The key has an open writer in the Store "${this.#name}". Close it first.`);
    }
    return this.#writer(object);
  }

  async open(key: string): Promise<BlockReader> {
    const object = this.#find(key);
    if (!object.sealed) throw this.#missing();
    return new MemoryReader(object.pages, fingerprint(object));
  }

  async clone(from: string, to: string): Promise<void> {
    const source = this.#find(from);
    if (!source.sealed) throw this.#missing();
    await using writer = await this.create({ key: to });
    try {
      for (const { index, page } of source.pages.entries()) await writer.write(page, index * PAGE);
      await writer.seal(source.pages.size);
    } catch (error) {
      await writer.discard();
      throw error;
    }
  }

  async stat(key: string): Promise<ObjectStat> {
    checkKey(key);
    const object = this.#objects.get(key);
    if (object === undefined) return { kind: 'absent' };
    const { size, storedSize } = object.pages;
    if (!object.sealed) return { kind: 'writing', storedSize };
    return { kind: 'sealed', size, storedSize, fingerprint: fingerprint(object) };
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    const object = this.#objects.get(key);
    if (object !== undefined) this.#drop(object);
  }

  async usage(): Promise<StoreUsage> {
    return { capacity: this.#capacity, free: this.#capacity - this.#used };
  }

  async close(): Promise<void> {}

  take(bytes: number): void {
    if (this.#used + bytes > this.#capacity) {
      const free = this.#capacity - this.#used;
      throw new HawserError(
        'store-full',
        `The Store "${this.#name}" needs ${bytes} bytes and has ${free} left of ${this.#capacity}. Remove something, or use another Store.`,
        { details: { store: this.#name, free } },
      );
    }
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }

  #writer(object: MemoryObject): MemoryWriter {
    object.writer = new MemoryWriter(object, () => this.#drop(object));
    return object.writer;
  }

  /** Readers that are open go on: they hold the pages, as a file that was unlinked goes on. */
  #drop(object: MemoryObject): void {
    object.writer?.abandon();
    object.writer = undefined;
    this.#objects.delete(object.key);
    this.give(object.pages.storedSize);
  }

  #find(key: string): MemoryObject {
    checkKey(key);
    const object = this.#objects.get(key);
    if (object === undefined) throw this.#missing();
    return object;
  }

  #missing(): HawserError {
    return new HawserError('not-found', `The Store "${this.#name}" has nothing under this key.`);
  }

  #taken(how: string): HawserError {
    return new HawserError(
      'already-exists',
      `The key ${how} in the Store "${this.#name}". Choose another, or remove it.`,
    );
  }
}

class MemoryWriter implements BlockWriter {
  readonly key: string;
  readonly placement: Placement = { order: 'any', grain: 1 };
  readonly #object: MemoryObject;
  readonly #drop: () => void;
  #state: 'open' | 'discarded' | 'closed' = 'open';

  constructor(object: MemoryObject, drop: () => void) {
    this.key = object.key;
    this.#object = object;
    this.#drop = drop;
  }

  async write(buffer: Uint8Array, offset: number): Promise<void> {
    this.#checkWritable();
    checkRange(offset, buffer.length);
    if (buffer.length > 0) this.#object.pages.write(buffer, offset);
  }

  async zero(range: Range, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#checkWritable();
    checkRange(range.offset, range.length);
    if (range.length > 0) this.#object.pages.zero(range);
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.#checkOpen();
    checkInside(offset, into.length, this.#object.pages.size);
    this.#object.pages.read(into, offset);
  }

  async flush(): Promise<void> {
    this.#checkWritable();
  }

  async resize(size: number): Promise<void> {
    this.#checkWritable();
    this.#object.pages.resize(size);
  }

  async seal(size: number): Promise<void> {
    const { pages, sealed } = this.#object;
    if (sealed && size === pages.size) return;
    if (sealed) {
      throw new HawserError('conflict', `The object is sealed with ${pages.size} bytes; it cannot get ${size}.`);
    }
    this.#checkWritable();
    pages.resize(size);
    this.#object.sealed = true;
  }

  async discard(): Promise<void> {
    if (this.#state === 'discarded') return;
    this.#checkOpen();
    if (this.#object.sealed) {
      throw new HawserError('conflict', 'The object is sealed: remove it from the Store instead.');
    }
    this.#drop();
  }

  /** Its key was removed. */
  abandon(): void {
    if (this.#state === 'open') this.#state = 'discarded';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'open') this.#state = 'closed';
    if (this.#object.writer === this) this.#object.writer = undefined;
  }

  #checkWritable(): void {
    this.#checkOpen();
    if (this.#object.sealed) throw new HawserError('conflict', 'The object is sealed; its bytes never change.');
  }

  #checkOpen(): void {
    if (this.#state === 'open') return;
    throw new HawserError('conflict', 'This writer was closed. Reopen the key to go on.');
  }
}

class MemoryReader implements BlockReader {
  readonly size: number;
  readonly fingerprint: string;
  readonly #pages: Pages;
  #closed = false;

  constructor(pages: Pages, fingerprint: string) {
    this.#pages = pages;
    this.size = pages.size;
    this.fingerprint = fingerprint;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.#checkOpen();
    checkInside(offset, into.length, this.size);
    this.#pages.read(into, offset);
  }

  async *extents(range: Range): AsyncGenerator<Extent> {
    checkInside(range.offset, range.length, this.size);
    for (const extent of this.#pages.extents(range)) {
      this.#checkOpen();
      yield extent;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }

  #checkOpen(): void {
    if (this.#closed) throw new HawserError('conflict', 'This reader was closed. Open the key again.');
  }
}

function fingerprint(object: MemoryObject): string {
  return `${object.serial}:${object.pages.size}`;
}
