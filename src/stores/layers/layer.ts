import type { Range } from '../../core/range.ts';
import type { BlockReader, BlockWriter, Extent, LentFile, LentForReading, Store } from '../store.ts';

export type OperationName =
  | 'create'
  | 'reopen'
  | 'open'
  | 'clone'
  | 'stat'
  | 'remove'
  | 'usage'
  | 'write'
  | 'zero'
  | 'read'
  | 'flush'
  | 'resize'
  | 'seal'
  | 'discard'
  | 'extents';

/** One call that passes through a layer. */
export interface Operation {
  readonly name: OperationName;
  /** Empty for `usage`. */
  readonly key: string;
  /** Bytes read, written or zeroed; 0 for all others. */
  readonly bytes: number;
  readonly signal?: AbortSignal | undefined;
  /** Does the first half only, where there is one. */
  readonly half?: () => Promise<void>;
}

/** What a layer does around an operation: `run` may be called never, once or again. */
export type Around = <T>(operation: Operation, run: () => Promise<T>) => Promise<T>;

/**
 * Told of a write or read that was made through a lent descriptor, where `around` cannot stand. A layer that must
 * stand around every one has none, and then nothing is lent through it.
 */
export type Overlook = (operation: Operation) => void;

/** A Store whose every operation goes through `around`; closing and disposing do not. */
export function layered(store: Store, around: Around, overlook?: Overlook): Store {
  return {
    kind: store.kind,
    traits: store.traits,
    create: async (request) => {
      const operation = { name: 'create', key: request.key, bytes: 0 } as const;
      return new LayeredWriter(await around(operation, () => store.create(request)), around, overlook);
    },
    reopen: async (key) => {
      const writer = await around({ name: 'reopen', key, bytes: 0 }, () => store.reopen(key));
      return new LayeredWriter(writer, around, overlook);
    },
    open: async (key) => {
      const reader = await around({ name: 'open', key, bytes: 0 }, () => store.open(key));
      return new LayeredReader(key, reader, around, overlook);
    },
    clone: (from, to) => around({ name: 'clone', key: to, bytes: 0 }, () => store.clone(from, to)),
    stat: (key) => around({ name: 'stat', key, bytes: 0 }, () => store.stat(key)),
    remove: (key) => around({ name: 'remove', key, bytes: 0 }, () => store.remove(key)),
    usage: () => around({ name: 'usage', key: '', bytes: 0 }, () => store.usage()),
    close: () => store.close(),
  };
}

class LayeredWriter implements BlockWriter {
  readonly key: string;
  readonly placement: BlockWriter['placement'];
  readonly #inner: BlockWriter;
  readonly #around: Around;
  readonly #overlook: Overlook | undefined;

  constructor(inner: BlockWriter, around: Around, overlook: Overlook | undefined) {
    this.key = inner.key;
    this.placement = inner.placement;
    this.#inner = inner;
    this.#around = around;
    this.#overlook = overlook;
  }

  async lend(range: Range): Promise<LentFile | undefined> {
    const overlook = this.#overlook;
    const file = overlook === undefined ? undefined : await this.#inner.lend?.(range);
    if (overlook === undefined || file === undefined) return undefined;
    return {
      fd: file.fd,
      place: file.place,
      wrote: (written) => {
        overlook({ name: 'write', key: this.key, bytes: written.length });
        file.wrote(written);
      },
      giveBack: () => file.giveBack(),
    };
  }

  write(buffer: Uint8Array, offset: number): Promise<void> {
    const half = () => this.#inner.write(buffer.subarray(0, buffer.length >>> 1), offset);
    return this.#around({ name: 'write', key: this.key, bytes: buffer.length, half }, () =>
      this.#inner.write(buffer, offset),
    );
  }

  zero(range: Range, signal?: AbortSignal): Promise<void> {
    const half = () => this.#inner.zero({ offset: range.offset, length: Math.floor(range.length / 2) }, signal);
    return this.#around({ name: 'zero', key: this.key, bytes: range.length, signal, half }, () =>
      this.#inner.zero(range, signal),
    );
  }

  read(into: Uint8Array, offset: number): Promise<void> {
    return this.#around({ name: 'read', key: this.key, bytes: into.length }, () => this.#inner.read(into, offset));
  }

  flush(): Promise<void> {
    return this.#around({ name: 'flush', key: this.key, bytes: 0 }, () => this.#inner.flush());
  }

  resize(size: number): Promise<void> {
    return this.#around({ name: 'resize', key: this.key, bytes: 0 }, () => this.#inner.resize(size));
  }

  seal(size: number): Promise<void> {
    return this.#around({ name: 'seal', key: this.key, bytes: 0 }, () => this.#inner.seal(size));
  }

  discard(): Promise<void> {
    return this.#around({ name: 'discard', key: this.key, bytes: 0 }, () => this.#inner.discard());
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]();
  }
}

class LayeredReader implements BlockReader {
  readonly fd: number | undefined;
  readonly size: number;
  readonly fingerprint: string;
  readonly #key: string;
  readonly #inner: BlockReader;
  readonly #around: Around;
  readonly #overlook: Overlook | undefined;

  constructor(key: string, inner: BlockReader, around: Around, overlook: Overlook | undefined) {
    this.size = inner.size;
    this.fingerprint = inner.fingerprint;
    this.fd = inner.fd;
    this.#key = key;
    this.#inner = inner;
    this.#around = around;
    this.#overlook = overlook;
  }

  lendForReading(): LentForReading | undefined {
    const overlook = this.#overlook;
    const file = overlook === undefined ? undefined : this.#inner.lendForReading?.();
    if (overlook === undefined || file === undefined) return undefined;
    return {
      ...file,
      sent: (bytes) => {
        overlook({ name: 'read', key: this.#key, bytes });
        file.sent(bytes);
      },
    };
  }

  read(into: Uint8Array, offset: number): Promise<void> {
    return this.#around({ name: 'read', key: this.#key, bytes: into.length }, () => this.#inner.read(into, offset));
  }

  /** Each step is an operation. A generator that threw is at its end, so the next step begins a new one where it was. */
  async *extents(range: Range): AsyncGenerator<Extent> {
    const end = range.offset + range.length;
    let { offset } = range;
    let inner: AsyncIterator<Extent> | undefined;
    const step = async () => {
      inner ??= this.#inner.extents({ offset, length: end - offset })[Symbol.asyncIterator]();
      try {
        return await inner.next();
      } catch (error) {
        inner = undefined;
        throw error;
      }
    };
    for (;;) {
      const next = await this.#around({ name: 'extents', key: this.#key, bytes: 0 }, step);
      if (next.done === true) return;
      offset = next.value.offset + next.value.length;
      yield next.value;
    }
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]();
  }
}
