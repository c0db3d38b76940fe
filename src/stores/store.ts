import type { Range } from '../core/range.ts';

/**
 * The contract of a driver: a place that keeps bytes under keys. A Store knows keys, never which
 * Image it holds. Only the engine moves bytes through it; the engine also re-cuts buffers and
 * emulates what a Store lacks, once for all drivers.
 *
 * Foreign errors become HawserErrors in the driver, once, with `cause`: no space is `store-full`, a size
 * that the place can never take `too-large`, an
 * unknown key `not-found`, a key that is taken `already-exists`, anything else of the device
 * `store-failed`. Host paths never enter a message.
 */
export interface Store {
  readonly kind: string;
  readonly traits: StoreTraits;

  /**
   * Begins an object. Nothing is visible under `key` before `seal`. Throws `already-exists` when the
   * key is sealed or being written, `store-full` when `preallocate` finds no room.
   */
  create(request: CreateRequest): Promise<BlockWriter>;

  /**
   * Goes on with an object that was created and not sealed, also after a crash: bytes written before
   * are still there. Throws `not-found`, `already-exists` when the key is sealed, `in-use` while this
   * Store has an open writer for it.
   */
  reopen(key: string): Promise<BlockWriter>;

  /** Opens a sealed object. Throws `not-found`. */
  open(key: string): Promise<BlockReader>;

  /**
   * A sealed object `to` with the bytes of the sealed object `from`: blocks are shared where the place
   * can (reflink), else copied without passing through us; holes stay holes. Throws `not-found`,
   * `already-exists`, `store-full`; then there is no `to`.
   */
  clone(from: string, to: string): Promise<void>;

  /** What is under `key` now. */
  stat(key: string): Promise<ObjectStat>;

  /**
   * Removes the object, sealed or not; ends its open writer. Removing what is not there succeeds. Open
   * readers go on, and the space is free when they are gone.
   */
  remove(key: string): Promise<void>;

  usage(): Promise<StoreUsage>;

  /** Releases what the Store itself holds. Open readers and writers must be gone. */
  close(): Promise<void>;
}

/** What the Store does by itself. What it does not, the engine emulates or refuses. */
export interface StoreTraits {
  /** Whether `create` needs the size. */
  readonly sizeHint: 'required' | 'useful' | 'ignored';
  readonly zero: Capability;
  /** Whether a zeroed range gives its space back. */
  readonly unmap: Capability;
  /** Whether readers know holes from data without reading. */
  readonly extents: Capability;
  readonly resize: Capability;
  readonly snapshots: Capability;
}

export type Capability = 'native' | 'emulated' | 'none';

export interface CreateRequest {
  /** 1 to 200 of `[A-Za-z0-9._-]`, not starting with a dot. Drivers throw `bad-request` otherwise. */
  readonly key: string;
  /** Bytes, when known. */
  readonly size?: number;
  /** Allocates all space at once; otherwise holes take none. */
  readonly preallocate?: boolean;
}

export interface StoreUsage {
  /** Bytes the place could hold when empty. */
  readonly capacity: number;
  /** Bytes that can be written now by us. */
  readonly free: number;
  /** Which filesystem of this machine holds it: Stores with the same word share `free`. Undefined: it is alone. */
  readonly filesystem?: string | undefined;
}

export type ObjectStat =
  | { readonly kind: 'absent' }
  | { readonly kind: 'writing'; readonly storedSize: number }
  | {
      readonly kind: 'sealed';
      readonly size: number;
      /** Bytes that take space. */
      readonly storedSize: number;
      /** Changes when somebody touched the object behind our back (inode, mtime, size of a file). */
      readonly fingerprint: string;
    };

/** In which order and in which units a writer takes bytes. */
export type Placement =
  | { readonly order: 'any'; readonly grain: number }
  | { readonly order: 'parts'; readonly grain: number };

/**
 * An object being written. `write` is whole or it throws; offsets, never cursors; several calls may be
 * outstanding for ranges that do not overlap. Disposing without `seal` keeps what was written for
 * `reopen`; `discard` removes it.
 */
export interface BlockWriter extends AsyncDisposable {
  readonly key: string;
  readonly placement: Placement;

  /**
   * Writes all of `buffer`. The buffer may be reused once this settles. The object grows as needed.
   * After `store-full` the writer can go on once there is room; the range that failed holds anything.
   */
  write(buffer: Uint8Array, offset: number): Promise<void>;

  /**
   * Lends the descriptor of the object's file, for pwrite(2) into `range` by another thread; absent or
   * undefined where there is none or where every write must pass through here. Such a write is as good
   * as `write`; one that fails is tried again through `write`, which says what is wrong. Whatever
   * changes the size or the place of the object, and disposing, waits until it is given back.
   */
  lend?(range: Range): Promise<LentFile | undefined>;

  /** Makes the range read as zeros and gives its space back where it can; bounded steps inside. */
  zero(range: Range, signal?: AbortSignal): Promise<void>;

  /** Reads back what was written; bytes never written read as zeros. Fills `into` or throws `out-of-range`. */
  read(into: Uint8Array, offset: number): Promise<void>;

  /**
   * All that was written before this call survives a power cut once it resolves. When it (or the flush
   * inside `seal`) fails with `details.unsyncedLost`, bytes written since the last flush may be gone for
   * good although they could be read before, and asking again proves nothing: the writer refuses to
   * write, flush and seal from then on. Verify those bytes after a reopen.
   */
  flush(): Promise<void>;

  /** Sets the size; what is cut off is gone, what is added reads as zeros. */
  resize(size: number): Promise<void>;

  /**
   * Flushes, sets the size and makes the object visible under its key, at once and for good. Copies
   * nothing. Repeated with the same size it is done already; with another size, and for all that would
   * change a sealed object, `conflict`. Repeatable after a crash: `stat` tells whether it happened.
   */
  seal(size: number): Promise<void>;

  /** Removes what was written; does nothing when its key was removed. Throws `conflict` once sealed. */
  discard(): Promise<void>;
}

export interface LentFile {
  readonly fd: number;
  /** Files with the same word are of one filesystem or device: when one of them hangs, so do the others. */
  readonly place?: string | undefined;
  /** `range` has been written, wholly. */
  wrote(range: Range): void;
  /** Nobody writes through `fd` any more. Repeatable. */
  giveBack(): void;
}

export interface LentForReading {
  readonly fd: number;
  /** As in LentFile. */
  readonly place?: string | undefined;
  /** So many bytes were read through it. */
  sent(bytes: number): void;
  /** Nobody reads through `fd` any more. Repeatable. */
  giveBack(): void;
}

/** A sealed object. */
export interface BlockReader extends AsyncDisposable {
  readonly size: number;
  /** As in ObjectStat. */
  readonly fingerprint: string;
  /** Descriptor of the object's file, for reading, until the reader is disposed of; absent where there is none. */
  readonly fd?: number | undefined;

  /** Fills `into` from `offset` or throws `out-of-range`; several calls may be outstanding. */
  read(into: Uint8Array, offset: number): Promise<void>;

  /** As `lendForReading` of a Device. */
  lendForReading?(): LentForReading | undefined;

  /**
   * The extents of `range`, in order, without gaps, neighbours of one kind merged, cut to the range.
   * A `hole` reads as zeros; `data` may hold zeros too.
   */
  extents(range: Range): AsyncIterable<Extent>;
}

export interface Extent extends Range {
  readonly kind: 'data' | 'hole';
}
