/**
 * Where bytes come from, in order: a request body, a pipe, another host. A door makes one; only the
 * engine reads it.
 */
export interface ByteSource {
  /**
   * Hands every chunk to `take`, in order, and resolves when the source has ended. A chunk may be
   * reused as soon as `take` has returned; when it returns a promise nothing more is handed over
   * until that has resolved. Rejects with `connection-lost` when the source ends too early, with
   * whatever `take` threw, and with the signal's reason after an abort; it hands over nothing after that.
   */
  drain(take: (chunk: Uint8Array) => Promise<void> | undefined, signal: AbortSignal): Promise<void>;

  /**
   * Lends the connection that the bytes come from, when it is one that others can read: not behind a TLS
   * that cannot be lent too, not cut up by chunked encoding. Once, and before `drain`, which then hands over what the borrower
   * left. Undefined when it cannot.
   */
  lend?(): LentConnection | undefined;
}

/** A connection that nobody else reads before it is given back. */
export interface LentConnection {
  /** Descriptor of the socket, valid until `giveBack`. */
  readonly fd: number;
  /** Address of the TLS session that reads it, for native/ alone; undefined: it is plain. */
  readonly tls?: bigint | undefined;
  /** Bytes that had been read from it already; they come first. */
  readonly lead: Uint8Array;
  /** Milliseconds; when its client says nothing for so long the owner wants it back. Undefined: it does not care. */
  readonly patience?: number | undefined;
  /** Fires when its owner has closed it. */
  readonly closed: AbortSignal;
  /** So many bytes more of the source, the lead included, are with the borrower. */
  took(bytes: number): void;
  /** The owner reads on, from the first byte that was not taken. */
  giveBack(): void;
  /** Instead: how far it was read is not known, so it is closed. */
  abandon(): void;
}

/** Where bytes go, in order: a response body. */
export interface ByteSink {
  /** Resolves when `chunk` may be reused and more may come. Rejects with `connection-lost`. */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Lends the connection that the bytes go to, when others can write to it: not behind a TLS that cannot be lent too,
   * not in chunked encoding. Only while no `write` is under way, and all that was written before is with the kernel. Undefined when it cannot.
   */
  lend?(): LentOutput | undefined;
}

/** A connection that nobody else writes to before it is given back. */
export interface LentOutput {
  /** Descriptor of the socket, which does not block; valid until `giveBack` or `abandon`. */
  readonly fd: number;
  /** Address of the TLS session that writes to it, for native/ alone; undefined: it is plain. */
  readonly tls?: bigint | undefined;
  /** Milliseconds; a client that takes nothing for so long is given up. Undefined: it has all the time. */
  readonly patience?: number | undefined;
  /** Fires when its owner has closed it. */
  readonly closed: AbortSignal;
  /** The owner writes on behind what was sent. */
  giveBack(): void;
  /** Instead: nothing more can or should be sent, so it is closed. */
  abandon(): void;
}
