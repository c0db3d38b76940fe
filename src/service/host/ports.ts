import type { DeclaredFormat } from '../../core/nouns.ts';
import type { UploadState } from '../../core/states.ts';
import type { UploadJournal } from '../../engine/upload-journal.ts';
import type { Store } from '../../stores/store.ts';

/** A Store of this host as configured. */
export interface HostStore {
  readonly storeId: string;
  readonly name: string;
  readonly store: Store;
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
  /** Written before the seal, so that a crash in it is finished. */
  readonly sealed: SealedFacts | null;
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
  list(): Promise<readonly UploadRecord[]>;
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
