import type { ByteSink, ByteSource } from '../../core/bytes.ts';
import type { Range } from '../../core/range.ts';
import type { FlatAlgorithm } from '../../engine/hash-pool.ts';
import type { Extent } from '../../stores/store.ts';

/**
 * Bytes in and out of this host: what every data door ends in. Who may do it was decided before; state
 * and ranges are checked here. Errors are HawserErrors.
 */
export interface DataPlane {
  /** `conflict`, `paused`, `expired` … by the Upload's state; `out-of-range`, `range-conflict`, `digest-mismatch`, `store-full`. */
  receive(uploadId: string, request: ReceiveRequest, source: ByteSource, signal: AbortSignal): Promise<ReceiptFacts>;
  /** Refuses what `receive` with this request would refuse before a byte was read. */
  admit(uploadId: string, request: ReceiveRequest): void;
  zeros(uploadId: string, ranges: readonly Range[]): Promise<ReceiptFacts>;
  discard(uploadId: string, ranges: readonly Range[]): Promise<ReceiptFacts>;
  ranges(uploadId: string): Promise<RangesFacts>;
  /** 32 bytes a block from block `first`; 32 zero bytes: not known. */
  uploadLeaves(uploadId: string, first: number, count: number): Promise<Uint8Array>;
  openCopy(storeId: string, key: string): Promise<CopyReader>;
}

export interface ReceiveRequest {
  readonly offset: number;
  /** null: until the body ends. */
  readonly length: number | null;
  /** The size that the client believes in, if it said one. */
  readonly total: number | null;
  readonly digest?: { readonly algorithm: FlatAlgorithm; readonly bytes: Buffer } | undefined;
}

export interface ReceiptFacts {
  readonly receivedBytes: number;
  readonly complete: boolean;
  /** Of this request. */
  readonly length: number;
}

export interface RangesFacts {
  readonly declaredSize: number | null;
  readonly receivedBytes: number;
  readonly ranges: readonly Range[];
  readonly zeros: readonly Range[];
  readonly fragments: readonly (Range & { readonly digest: Buffer })[];
}

export interface CopyReader extends AsyncDisposable {
  readonly size: number;
  readonly storedSize: number;
  /** hex of tree-sha256 over the recorded leaves; undefined when there are none. */
  readonly treeDigest: string | undefined;
  /** Changes when the object was touched behind our back. */
  readonly fingerprint: string;
  extents(range: Range): AsyncIterable<Extent>;
  /** Of block `first` on; empty when none are recorded. */
  leaves(first: number, count: number): Uint8Array;
  send(range: Range, sink: ByteSink, signal: AbortSignal): Promise<void>;
}
