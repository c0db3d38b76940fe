import type { Range } from '../core/range.ts';

/** Where downloaded bytes go. */
export interface DownloadSink {
  /** Everything must come in order: a pipe. */
  readonly ordered: boolean;
  /** Writes all of it; the buffer may be reused once this resolves. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** The range must read as zeros in the end. Never called with what was written. */
  hole(range: Range): Promise<void>;
  /** Fills `into` with what a run before left there (zeros beyond its end). Only when there is something left. */
  read?(into: Uint8Array, offset: number): Promise<void>;
}
