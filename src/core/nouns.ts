import type { Digest } from './digest.ts';
import type { ImageFormat } from './formats.ts';
import type { CopyState, ImageState, TaskState, UploadState } from './states.ts';

/**
 * The nouns of docs/words.md as plain data. Sizes are bytes, ids are UUIDs, times are Dates that the
 * database's clock gave. `state` is enumerated (core/states), `status` free text for people.
 */
export type DeclaredFormat = ImageFormat | 'auto';

/** Where bytes came from; `upload` cannot be fetched again without a person. */
export type Origin = 'upload' | 'download' | 'export-from-volume' | 'restore' | 'clone';

/** Origins that need a person to be fetched again: the last Copy of such an Image is never removed by us. */
export const unrepeatableOrigins: readonly Origin[] = ['upload', 'export-from-volume', 'clone'];

/** Who sends the bytes of an Upload: a client, or the agent fetches them by itself. */
export type UploadSource =
  | { readonly kind: 'client' }
  /** From a ready Copy of this Image: its own (one more Copy) or another one (Origin `clone`). */
  | { readonly kind: 'copy'; readonly imageId: string }
  /** Origin `download`. `decompress` auto: gzip, xz and zstd are unpacked on the way, told by their first bytes. */
  | { readonly kind: 'url'; readonly url: string; readonly decompress: 'none' | 'auto' };

/** Where the Copies of an Image shall lie: on Stores and Hosts that carry all of these tags. */
export interface Placement {
  /** Ready Copies that there shall be, at least 1. */
  readonly minCopies: number;
  readonly storeTags: readonly string[];
  readonly hostTags: readonly string[];
}

export interface Image {
  readonly id: string;
  readonly name: string;
  readonly state: ImageState;
  readonly status: string;
  readonly origin: Origin;
  /** How the agent fetches it, for `download` and `clone`. */
  readonly source: UploadSource;
  readonly placement: Placement;
  readonly format: DeclaredFormat;
  readonly declaredSize: number | null;
  readonly size: number | null;
  readonly virtualSize: number | null;
  readonly digests: readonly Digest[];
  /** What the whole content must have, as the client said. */
  readonly expectedDigest: Digest | null;
  readonly copies: readonly Copy[];
  readonly uploadId: string | null;
  readonly taskId: string | null;
  readonly owner: string;
  readonly createdAt: Date;
  readonly readyAt: Date | null;
}

/** One Image as it lies on one Store. */
export interface Copy {
  readonly id: string;
  readonly imageId: string;
  readonly storeId: string;
  readonly storeName: string;
  readonly hostId: string;
  readonly hostName: string;
  readonly key: string;
  readonly state: CopyState;
  /** Since when it has been in this state. */
  readonly stateAt: Date;
  readonly status: string;
  readonly doneBytes: number;
  readonly storedSize: number | null;
  readonly fingerprint: string | null;
}

export type UploadPurpose = 'fill' | 'copy';

/** An unfinished inbound Copy. The agent's journal owns its ranges; numbers here follow it. */
export interface Upload {
  readonly id: string;
  readonly imageId: string;
  readonly copyId: string;
  readonly taskId: string;
  readonly name: string;
  readonly state: UploadState;
  readonly status: string;
  readonly generation: number;
  /** `fill`: makes its Image; `copy`: one more Copy of a ready one. */
  readonly purpose: UploadPurpose;
  readonly source: UploadSource;
  readonly declaredSize: number | null;
  /** Bytes of space promised to it. */
  readonly reserved: number;
  readonly receivedBytes: number;
  readonly zeroBytes: number;
  readonly format: DeclaredFormat;
  readonly expectedDigest: Digest | null;
  readonly fingerprint: string | null;
  readonly storeId: string;
  readonly key: string;
  readonly owner: string;
  readonly createdAt: Date;
  readonly activeAt: Date | null;
  readonly expiresAt: Date;
}

export const taskKinds = ['upload', 'download', 'clone', 'replicate', 'verify', 'digest'] as const;
export type TaskKind = (typeof taskKinds)[number];
export type TaskAction = 'pause' | 'resume' | 'cancel';

/** Long work that a person can see, pause and cancel. */
export interface Task {
  readonly id: string;
  readonly kind: TaskKind;
  readonly state: TaskState;
  readonly status: string;
  /** An error code, `user` or `client-away`. */
  readonly cause: string | null;
  readonly imageId: string | null;
  readonly imageName: string | null;
  readonly uploadId: string | null;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  /** Bytes per second over the last seconds. */
  readonly rate: number | null;
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly owner: string;
  readonly actions: readonly TaskAction[];
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

export interface TaskEvent {
  readonly at: Date;
  readonly from: TaskState | null;
  readonly to: TaskState;
  readonly cause: string | null;
  readonly status: string;
}

export interface StoreRecord {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly hostId: string;
  readonly hostName: string;
  readonly state: 'online' | 'offline' | 'failed';
  readonly status: string;
  readonly enabled: boolean;
  /** Its Copies are being moved to other Stores; nothing new comes here. */
  readonly evicting: boolean;
  readonly tags: readonly string[];
  /** Why nothing new is placed here now, for people; null: it may be. */
  readonly unschedulable: string | null;
  readonly hostTags: readonly string[];
  /** Stores of one host with the same word share their space; null: not known, it is taken to be alone. */
  readonly filesystem: string | null;
  readonly copyCount: number;
  readonly capacity: number;
  readonly free: number;
  /** Promised and not yet written, to all Stores that share its space. */
  readonly reserved: number;
  readonly seenAt: Date | null;
}

/**
 * `offline`: its agent is not heard. `outdated`: the agent is too old (or too new) for this control; nothing
 * new is placed there, what it has goes on once it is replaced. `removed`: taken out by an administrator.
 */
export type HostState = 'online' | 'offline' | 'outdated' | 'removed';

/** A machine with an Agent and its Stores. */
export interface Host {
  readonly id: string;
  readonly name: string;
  readonly state: HostState;
  readonly status: string;
  readonly version: string;
  readonly linkVersion: number;
  /** New Copies may come here. */
  readonly enabled: boolean;
  /** Being drained: its Copies are moved to other Hosts. */
  readonly evicting: boolean;
  /** Being drained, and nothing is left to move. */
  readonly drained: boolean;
  readonly tags: readonly string[];
  /** Where control reaches the agent; null: in this very process. */
  readonly agentUrl: string | null;
  readonly dataUrls: readonly string[];
  /** As in its HostIdentity. */
  readonly keyHash: string | null;
  /** Raised at each join with the same identity; an agent with an older one is fenced off. */
  readonly generation: number;
  readonly storeCount: number;
  readonly copyCount: number;
  readonly capacity: number;
  readonly free: number;
  readonly seenAt: Date | null;
  readonly createdAt: Date;
}

/** By what a Host is known at the other end of a connection: nobody else can show a certificate of its agent with its key. */
export interface HostIdentity {
  readonly id: string;
  /** SHA-256 (hex) of the public key that it joined with; null: not known, its id in a certificate of the authority must do. */
  readonly keyHash: string | null;
}

/** A right to join, handed to a new agent once. Its secret is shown only when it is made. */
export interface JoinToken {
  readonly id: string;
  readonly name: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly usedAt: Date | null;
  readonly hostId: string | null;
}

/** Who asks. Every use case takes one and decides by it; `admin` sees and does all. */
export interface Actor {
  readonly user: string;
  readonly role: 'admin' | 'user';
}

export interface PageRequest {
  readonly limit: number;
  readonly cursor?: string | undefined;
}
export interface PageResult<T> {
  readonly items: readonly T[];
  /** For the next request; null at the end. */
  readonly next: string | null;
}
