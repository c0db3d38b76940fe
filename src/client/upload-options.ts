import type { UploadRequest } from '../contract/api/upload.ts';
import type { BackoffLimits } from '../core/backoff.ts';
import type { ApiClient } from './api-client.ts';
import type { Clock, Hashing, Source, UploadTransport } from './ports.ts';
import type { UploadProgress } from './upload-progress.ts';

export interface UploadOptions {
  readonly api: ApiClient;
  readonly source: Source;
  readonly name: string;
  readonly transport: UploadTransport;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A new random id, for the idempotency key. */
  readonly newId: () => string;
  readonly format?: UploadRequest['format'];
  /** `algorithm:hex` that the whole content must have. */
  readonly digest?: string;
  readonly storeId?: string;
  /** Fill this failed Image again. */
  readonly imageId?: string;
  /** How many Copies there shall be and where, for an Image that is begun. */
  readonly placement?: UploadRequest['placement'];
  /** Bytes that are not holes, when known. */
  readonly dataSize?: number;
  /** Go on with this one instead of looking for one. */
  readonly uploadId?: string;
  /** Cancel what is unfinished of this source and begin anew. */
  readonly restart?: boolean;
  /** PUTs at a time; default 4. */
  readonly parallel?: number;
  /** The largest PUT, bytes, a multiple of 1 MiB; memory is this times `parallel`. Default 8 MiB. */
  readonly maxChunk?: number;
  /** Send straight to the data listener with a ticket (not from a page: it is another origin). */
  readonly direct?: boolean;
  /** Default 60 s. */
  readonly stallMs?: number;
  /** Gives up after so long without any success; default a day. */
  readonly giveUpMs?: number;
  readonly backoff?: BackoffLimits;
  readonly onProgress?: (progress: UploadProgress) => void;
}
