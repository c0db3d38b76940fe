import type { UploadServerWire } from './upload-server-wire.ts';

/** One line of what an agent keeps about the chunks of an Upload, in the order it happened. */
export type ChunkEvent =
  /** The first line: where the Upload lies, so that what lies beside it is found when it is gone. */
  | { readonly kind: 'opened'; readonly storeId: string; readonly key: string }
  /** The size of chunk `index` and the first 64 hex digits of its SHA-512, as the client said. */
  | { readonly kind: 'prepared'; readonly index: number; readonly size: number; readonly checksum: string }
  /** Its bytes are in the Upload at `offset`, and were what the checksum says. */
  | { readonly kind: 'placed'; readonly index: number; readonly offset: number; readonly how?: Unlanded | undefined }
  /**
   * Its bytes are in the object beside the Upload at `offset`: its place is not known yet. `from`: they lay there in the
   * Upload, which was wrong and is about to be discarded; `left` says that it was.
   */
  | { readonly kind: 'aside'; readonly index: number; readonly offset: number; readonly from?: number | undefined }
  | { readonly kind: 'left'; readonly index: number }
  /** Its bytes are not there any more, or were bad. */
  | { readonly kind: 'dropped'; readonly index: number }
  /** The port that its upload server listens at; 0: it was closed. */
  | { readonly kind: 'port'; readonly port: number };

/**
 * Not landed by the chunk's own body. `landing`: they are about to be put there by a guess; `found`: somebody else
 * put them there, who knew where.
 */
export type Unlanded = 'landing' | 'found';

/** A file of ChunkEvents. What `append` has resolved survives kill -9. */
export interface ChunkLog extends AsyncDisposable {
  append(events: readonly ChunkEvent[]): Promise<void>;
}

/** The logs of all Uploads of this host that somebody sends in chunks. */
export interface ChunkLogs {
  list(): Promise<readonly string[]>;
  /** Opens it, making it when there is none, with what is in it. */
  open(uploadId: string): Promise<{ readonly log: ChunkLog; readonly events: readonly ChunkEvent[] }>;
  /** Removing what is not there succeeds. */
  remove(uploadId: string): Promise<void>;
}

/** Opens listeners of upload servers: a door, put in by roles. */
export interface UploadServerListeners {
  /** Ports to take in turn; 0 among them is any free one. */
  readonly ports: Iterable<number>;
  /** The name or address at which control reaches them. */
  readonly address: () => string;
  /** Throws `in-use` when another program listens there. */
  listen(wire: UploadServerWire, port: number): Promise<OpenListener>;
}

export interface OpenListener {
  readonly port: number;
  /** Requests that are being answered end first. */
  close(): Promise<void>;
}
