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
}

/** Where bytes go, in order: a response body. */
export interface ByteSink {
  /** Resolves when `chunk` may be reused and more may come. Rejects with `connection-lost`. */
  write(chunk: Uint8Array): Promise<void>;
}
