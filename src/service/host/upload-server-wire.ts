import type { ByteSource } from '../../core/bytes.ts';

/** A chunk as its client names it. `checksum`: the first 64 hex digits of the SHA-512 of its bytes. */
export interface ChunkName {
  readonly index: number;
  readonly checksum: string;
}

/**
 * What an upload server does, one for each Upload. Errors are HawserErrors; everything may be repeated.
 */
export interface UploadServerWire {
  /** Sets the size. What was received stays; another size once data is there is `size-mismatch`. */
  start(size: number): Promise<void>;
  /**
   * True: exactly this chunk is here, and was compared with its data since the agent started. False: send it; another one that was
   * here under this index is gone.
   */
  prepareChunk(chunk: ChunkName & { readonly size: number }): Promise<boolean>;
  /** Takes the bytes of a prepared chunk; a wrong checksum or length is `digest-mismatch` or `size-mismatch`, and nothing of it stays. */
  uploadChunk(chunk: ChunkName, source: ByteSource, signal: AbortSignal): Promise<void>;
  /** Finishes. Chunks of index `count` and up are dropped. `incomplete` names the indexes that are missing. */
  coalesceChunk(whole: { readonly size: number; readonly count: number }): Promise<void>;
  /** All of it in one body, then finishes. What arrives before a failure is kept. */
  upload(size: number, source: ByteSource, signal: AbortSignal): Promise<void>;
  /** No more will be asked. */
  close(): Promise<void>;
}
