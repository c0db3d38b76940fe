import type { ByteSource } from '../../core/bytes.ts';
import type { HawserError } from '../../core/errors.ts';
import type { DeclaredFormat, HostIdentity } from '../../core/nouns.ts';
import type { Range } from '../../core/range.ts';
import type { UploadState } from '../../core/states.ts';
import type { UploadJournal } from '../../engine/upload-journal.ts';
import type { Extent, Store } from '../../stores/store.ts';

/** A Store of this host as configured. */
export interface HostStore {
  readonly storeId: string;
  readonly name: string;
  readonly store: Store;
  /** What placements may ask for. */
  readonly tags?: readonly string[] | undefined;
}

/** What the agent keeps about one Upload beside its journal; rewritten whole, atomically. */
export interface UploadRecord {
  readonly uploadId: string;
  readonly generation: number;
  readonly storeId: string;
  readonly key: string;
  readonly declaredSize: number | null;
  /** What a size that was not declared may grow to. */
  readonly maxSize: number | null;
  readonly reserve: number;
  readonly format: DeclaredFormat;
  readonly digests: readonly string[];
  readonly limits: { readonly task: number | null; readonly user: number | null; readonly userId: string };
  readonly state: UploadState;
  /** Of a source that is fetched from: while it stays the same, so do the bytes. null: none is known. */
  readonly validator: string | null;
  /** Written before the seal, so that a crash in it is finished. */
  readonly sealed: SealedFacts | null;
}

export interface KeptRecords {
  readonly records: readonly UploadRecord[];
  readonly unreadable: readonly UnreadableRecord[];
}

/** One that is kept as it is, for a person to look at. */
export interface UnreadableRecord {
  readonly uploadId: string;
  readonly generation: number;
  readonly problem: HawserError;
}

export interface SealedFacts {
  readonly size: number;
  readonly storedSize: number;
  readonly treeDigest: string;
  readonly digests: Readonly<Record<string, string>>;
  readonly format: Exclude<DeclaredFormat, 'auto'>;
  readonly virtualSize: number;
  readonly fingerprint: string;
}

/** The agent's state folder. What resolves survives kill -9; `save` and `writeLeaves` survive a power cut. */
export interface StateFolder {
  /** SHA-256 of the boot id of the machine. */
  readonly boot: Buffer;
  list(): Promise<KeptRecords>;
  save(record: UploadRecord): Promise<void>;
  journal(uploadId: string): Promise<UploadJournal & AsyncDisposable>;
  remove(uploadId: string): Promise<void>;

  writeLeaves(storeId: string, key: string, leaves: Uint8Array): Promise<void>;
  /** All of them, 32 bytes each; undefined when there are none. */
  readLeaves(storeId: string, key: string): Promise<Buffer | undefined>;
  removeLeaves(storeId: string, key: string): Promise<void>;
}

export interface HostLog {
  info(fields: Readonly<Record<string, unknown>>): void;
  warn(fields: Readonly<Record<string, unknown>>): void;
}

/**
 * A sealed Copy somewhere else, as an agent reads it to make one of its own. Rejects with `unavailable` and
 * `connection-lost` when trying again may help; `source-changed` when it is another object than before,
 * `forbidden`, `not-found`, `unsupported` otherwise.
 */
export interface DistantCopy extends AsyncDisposable {
  /** Requests for data that are worth having under way at once, as far as is known by now: more where each comes from afar. */
  readonly lanes: number;
  /** From `from` on, in order, without gaps, as many as are told at once. */
  extents(from: number, signal: AbortSignal): Promise<ExtentPage>;
  /** 32 bytes a block; empty when none are recorded. */
  leaves(first: number, count: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Exactly the bytes of `range`. Drain it or let `signal` fire: it holds a connection. */
  data(range: Range, signal: AbortSignal): Promise<ByteSource>;
}

export interface ExtentPage {
  /** Of the whole Copy. */
  readonly size: number;
  readonly extents: readonly Extent[];
  /** Where to go on; null at the end. */
  readonly next: number | null;
}

export interface PeerAddress {
  readonly url: string;
  readonly ticket: string;
  /** PEM that the certificate is verified with; null: the usual roots. */
  readonly ca: string | null;
  /** Who must answer there; null: whoever `ca` vouches for. */
  readonly host?: HostIdentity | null | undefined;
}

/** Opens nothing yet: the first call connects. */
export type OpenPeer = (address: PeerAddress) => DistantCopy;

/** A file behind a URL. Rejects as a DistantCopy does, and with `too-many` where the server asks for patience (details.retryAfterSeconds). */
export interface UrlFile extends AsyncDisposable {
  /**
   * Asks for a range, or for all of it. With `validator` a range comes only while the file is the same as then;
   * else the answer is the whole. Drain the body, cancel it, or let `signal` fire: it holds a connection.
   */
  get(wanted: Range | null, validator: string | null, signal: AbortSignal): Promise<UrlAnswer>;
  /** Its host, for messages: the rest of a URL may be secret. */
  readonly host: string;
}

export interface UrlAnswer {
  /** A part was sent as asked, from `offset` on. */
  readonly ranged: boolean;
  readonly offset: number;
  /** Bytes that come; null: until it ends. */
  readonly length: number | null;
  /** Of the whole file; null: the server does not say. */
  readonly size: number | null;
  /** While the server tells the same one, the bytes are the same; null: it tells none that promises that. */
  readonly validator: string | null;
  /** Content-Encoding, in lower case: the bytes are packed, although they were asked for as they are. Null: they are not. */
  readonly encoding: string | null;
  readonly body: ByteSource;
  cancel(): void;
}

/** Connects to nothing yet. Throws `bad-request` for what is no URL of ours. */
export type OpenUrl = (url: string) => UrlFile;
