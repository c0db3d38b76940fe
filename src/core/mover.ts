import type { Range } from './range.ts';

/**
 * A thread that receives bodies: from the descriptor of a connection through a buffer that is hashed and
 * written while it is hot in that thread's cache. The engine decides what it may write; `native/` is
 * where it lives.
 */
export interface Mover {
  /**
   * Begins a move. `events` are told in order; `ended` is the last and always comes. Both descriptors must
   * stay open until then, and nobody else may read the socket. Undefined when it cannot begin (it was
   * closed, its threads did not live); then no event comes.
   */
  begin(request: MoveRequest, events: MoveEvents): Move | undefined;

  /**
   * The one to begin with at once, for a file of this place (LentFile): one that a place that hangs does not hold.
   * Undefined when there is none now. Absent: this one, for all.
   */
  lane?(place: string | undefined): Mover | undefined;
}

export interface MoveRequest {
  /** Descriptor of a connected stream socket. */
  readonly socket: number;
  /** Address of the TLS session that it is read through, which nobody else uses meanwhile (LentConnection). */
  readonly tls?: bigint | undefined;
  /** Bytes of the body that had been read from the socket before; they come first. */
  readonly lead: Uint8Array;
  /** Descriptor of the file, written by position. Undefined: its owner writes the slabs of the segments. */
  readonly file: number | undefined;
  /** Where in the file the body goes. Never a byte more is read from the socket. */
  readonly range: Range;
  /** Blocks are told with their digests. */
  readonly digests: boolean;
  /** Blocks of zeros are told and not written. */
  readonly skipsZeros: boolean;
  /** Milliseconds; a client that says nothing for so long is left to the owner of its connection. */
  readonly patience: number;
  /** What all moves that run now may use, this one included. Theirs until the last of them has ended. */
  readonly slabs: readonly MoverSlab[];
}

/** 1 MiB of shared memory. */
export interface MoverSlab {
  readonly index: number;
  readonly shared: SharedArrayBuffer;
}

export interface Move {
  /** Stops soon: what has been received is written and told, then it ends. Repeatable. */
  recall(): void;
  /** So many of the segments that were told are dealt with; the mover does not run far ahead. */
  dealtWith(segments: number): void;
  /** The slab of a segment may be used again. Also after the move has ended. */
  giveBack(slab: number): void;
}

export interface MoveEvents {
  /** In order, each beginning where the one before ended. */
  moved(segments: readonly MovedSegment[]): void;
  ended(how: MoveEnd): void;
}

/** Within one block of the digest tree. */
export interface MovedSegment extends Range {
  /** It is zeros, and nothing was written; else it is in the file, or at the beginning of `slab`. */
  readonly zero: boolean;
  /** hex; null for zeros, and where no digests are wanted. */
  readonly sha256: string | null;
  /** Which one, where there is no file; the mover does not touch it before `giveBack`. */
  readonly slab?: number | undefined;
}

export type MoveEnd =
  /** All of it came, or it was recalled, or the client says nothing, is gone or has ended early: the socket tells which. */
  | { readonly kind: 'returned' }
  /** The file did not take these bytes, which come after the last segment. */
  | { readonly kind: 'unwritten'; readonly bytes: Uint8Array }
  /** How far the socket was read is not known. */
  | { readonly kind: 'lost'; readonly cause: Error };
