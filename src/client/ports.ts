import type { HostIdentity } from '../core/nouns.ts';
import type { Range } from '../core/range.ts';

/**
 * What the client library asks of the place it runs in (a browser's worker, Node). It imports no
 * platform itself.
 */

/** The part of `fetch` that API calls use. */
export type Fetch = (url: string, init: FetchInit) => Promise<FetchAnswer>;

export interface FetchInit {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

export interface FetchAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  text(): Promise<string>;
  arrayBuffer(): Promise<ArrayBuffer>;
}

export interface PutRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM that the certificate of the server is verified with, where the platform can; null: as any other. */
  readonly ca?: string | null | undefined;
  /** The host whose certificate must be shown there, where the platform can look; null: whoever `ca` vouches for. */
  readonly host?: HostIdentity | null | undefined;
  /** Stays untouched until the call has settled; the transport makes no copy of the whole. */
  readonly body: Uint8Array;
  /** How many bytes of the body have gone out so far. Called as often as is cheap. */
  readonly onSent?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

export interface TransportAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Sends one body. Resolves with whatever status came, also one that came before the whole body was
 * sent. Rejects with the signal's reason after an abort and with any other error when the connection
 * failed. After an abort nothing more is read from `body`.
 */
export interface UploadTransport {
  put(request: PutRequest): Promise<TransportAnswer>;
}

export interface GetRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** As for a PUT. */
  readonly ca?: string | null | undefined;
  readonly host?: HostIdentity | null | undefined;
  /** Filled from its start with the body of a 2xx answer. A body that announces to be longer is not read at all. */
  readonly into: Uint8Array;
  readonly onReceived?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

export interface GetAnswer extends TransportAnswer {
  /** How much of `into` was filled; `body` is empty then. */
  readonly length: number;
}

export interface DownloadTransport {
  get(request: GetRequest): Promise<GetAnswer>;
}

/** SHA-256, off the thread that drives the transfer where the platform allows. */
export interface Hashing {
  /** The digest of each view, 32 bytes each, in order. Views lie in buffers that `allocate` gave. */
  sha256(views: readonly Uint8Array[]): Promise<readonly Uint8Array[]>;
  /** The digest of the parts one after the other. */
  sha256Of(parts: Iterable<Uint8Array>): Promise<Uint8Array>;
  /** A buffer for bytes that will be hashed; it lives as long as the transfer. */
  allocate(length: number): Uint8Array;
}

export interface Clock {
  /** Milliseconds, only differences mean something. */
  now(): number;
  /** Rejects with the signal's reason. */
  delay(milliseconds: number, signal: AbortSignal): Promise<void>;
  /** 0 up to 1. */
  random(): number;
}

export interface SourceExtent extends Range {
  readonly kind: 'data' | 'hole';
}

/** Bytes that can be read anywhere, any number of times: a file, a block device, a browser's File. */
export interface FileSource {
  readonly kind: 'file';
  readonly size: number;
  /** Lets the client know its own source again: name, size, time of change. Not proof of content. */
  readonly fingerprint: string;
  /** Fills `into` from `offset` or throws; several calls may be outstanding. Too short: `source-changed`. */
  read(into: Uint8Array, offset: number): Promise<void>;
  /** Data and holes of `range`, in order, without gaps. Without it everything counts as data. */
  extents?(range: Range): AsyncIterable<SourceExtent>;
  /** What is different since it was opened, for a person to read; null when nothing is. */
  changed?(): Promise<string | null>;
}

/** Bytes that come once, in order: a pipe. */
export interface StreamSource {
  readonly kind: 'stream';
  /** null: not known. */
  readonly size: number | null;
  readonly fingerprint: string;
  /** Fills as much of `into` as there is; resolves with less than its length only at the end. */
  read(into: Uint8Array): Promise<number>;
}

export type Source = FileSource | StreamSource;
