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

export interface Image {
  readonly id: string;
  readonly name: string;
  readonly state: ImageState;
  readonly status: string;
  readonly origin: Origin;
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
  readonly key: string;
  readonly state: CopyState;
  readonly status: string;
  readonly doneBytes: number;
  readonly storedSize: number | null;
  readonly fingerprint: string | null;
}

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

export type TaskKind = 'upload' | 'verify' | 'digest';
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
  readonly capacity: number;
  readonly free: number;
  readonly reserved: number;
  readonly seenAt: Date | null;
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
