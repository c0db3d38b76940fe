import type { Range } from '../core/range.ts';
import type { LentFile, LentForReading } from './store.ts';

/** How a Device does it: by itself, by us in bounded steps, or not at all. */
export type DeviceTrait = 'native' | 'emulated' | 'none';

/**
 * Bytes of a fixed size that are read and written in place: a file, a block device, an NBD export. It is
 * what a Ticket of the imageio door stands on. Not a Store: no keys, no seal, nothing is write-once.
 *
 * `read` and `write` are whole or they throw; offsets, never cursors; several may be under way at once, also
 * on overlapping ranges (then the outcome is one of them). After an abort nothing more is written. Errors
 * are HawserErrors: `out-of-range`, `store-full`, `store-failed`, `forbidden` (opened for reading only).
 */
export interface Device extends AsyncDisposable {
  /** Bytes. */
  readonly size: number;
  readonly writable: boolean;
  readonly traits: DeviceTraits;
  read(into: Buffer, offset: number, signal?: AbortSignal): Promise<void>;
  write(from: Buffer, offset: number, signal?: AbortSignal): Promise<void>;
  /**
   * Lends the descriptor, for pwrite(2) into `range` by another thread; absent or undefined where there is none or
   * where every write must pass through here. Such a write is as good as `write`; one that fails is tried again
   * through `write`, which says what is wrong. All else may go on meanwhile; disposing waits until it is given back.
   */
  lend?(range: Range): Promise<LentFile | undefined>;
  /**
   * Lends the descriptor, for sendfile(2) of data extents by another thread; absent or undefined where there is none or
   * where every read must pass through here. What it does not give is asked for again through `read`, which says what is wrong.
   */
  lendForReading?(): LentForReading | undefined;
  /** Reads as zeros from then on. Gives the space back where the Device can (`unmap`). */
  zero(range: Range, signal?: AbortSignal): Promise<void>;
  /** What was written before survives a power cut once this resolves. */
  flush(signal?: AbortSignal): Promise<void>;
  /** In order, without gaps, adjacent ones of one kind merged as far as is cheap. All data where it cannot tell. */
  extents(range: Range, signal?: AbortSignal): AsyncIterable<DeviceExtent>;
  /** What changed since a checkpoint; undefined where no dirty bitmap was asked for. */
  readonly dirty?: ((range: Range, signal?: AbortSignal) => AsyncIterable<DirtyExtent>) | undefined;
}

export interface DeviceTraits {
  readonly zero: DeviceTrait;
  readonly unmap: DeviceTrait;
  readonly extents: DeviceTrait;
  /** Writes that several connections may send side by side. */
  readonly writers: number;
}

/** As NBD's base:allocation tells it: `zero` reads as zeros, `hole` takes no space (a backing file may show through). */
export interface DeviceExtent extends Range {
  readonly zero: boolean;
  readonly hole: boolean;
}

export interface DirtyExtent extends Range {
  readonly dirty: boolean;
}
