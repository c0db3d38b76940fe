import type { Digest } from '../../core/digest.ts';
import type {
  Actor,
  Copy,
  DeclaredFormat,
  HostIdentity,
  Image,
  Origin,
  PageResult,
  Placement,
  StoreRecord,
  Task,
  TaskEvent,
  TaskKind,
  Upload,
  UploadPurpose,
  UploadSource,
} from '../../core/nouns.ts';
import type { CopyState, ImageState, TaskState, UploadState } from '../../core/states.ts';
import type { CopyRecords } from './copy-ports.ts';
import type { HostRecords, HostSeen } from './host-ports.ts';
import type { ImageQuery, StoreChange, TaskQuery, UploadQuery } from './use-cases.ts';

/**
 * What control needs of a database. Every method is one statement unless said otherwise; all times
 * are the database's. `transaction` hands over the same records bound to one transaction.
 */
export interface ControlDb {
  readonly images: ImageRecords;
  readonly copies: CopyRecords;
  readonly uploads: UploadRecords;
  readonly tasks: TaskRecords;
  readonly stores: StoreRecords;
  readonly hosts: HostRecords;
  readonly accounts: AccountRecords;
  readonly audit: AuditRecords;
  readonly uploadServers: UploadServerRecords;
  readonly move: Move;
  transaction<T>(run: (db: ControlDb) => Promise<T>): Promise<T>;
}

/** The tables that have a state, and its type. */
export interface States {
  readonly images: ImageState;
  readonly copies: CopyState;
  readonly uploads: UploadState;
  readonly tasks: TaskState;
}
export type Stateful = keyof States;

/**
 * Compare-and-set of a state column: true when this call made the move. Only a move that core's
 * tables allow is ever made; `from` narrows it further. A Task's move also appends its event, in the
 * same statement. The end of an Upload gives its reservation back.
 */
export type Move = <T extends Stateful>(
  table: T,
  id: string,
  to: States[T],
  options?: MoveOptions<T>,
) => Promise<boolean>;
export interface MoveOptions<T extends Stateful> {
  readonly from?: readonly States[T][] | undefined;
  readonly status?: string | undefined;
  /** Tasks only: an error code, `user`, `client-away`; cleared by every move that does not say it. */
  readonly cause?: string | undefined;
}

export interface ImageRecords {
  insert(image: NewImage): Promise<void>;
  /** Also deleted ones; with its Copies, removed ones left out. */
  find(id: string): Promise<Image | undefined>;
  /** Locks the row to the end of the transaction. */
  lock(id: string): Promise<Image | undefined>;
  /** Newest first, deleted ones left out; only `owner`'s when given. */
  list(query: ImageQuery, owner: string | undefined): Promise<PageResult<Image>>;
  rename(id: string, name: string): Promise<void>;
  setPlacement(id: string, placement: Partial<Placement>): Promise<void>;
  setStatus(id: string, status: string): Promise<void>;
  /** Binds the Upload and the Task that fill it now. */
  setFilling(id: string, filling: Filling): Promise<void>;
  setTask(id: string, taskId: string): Promise<void>;
  /** As setFilling, for content that is known already and fetched again: it stays as it is. */
  setFetching(id: string, filling: Pick<Filling, 'uploadId' | 'taskId'>): Promise<void>;
  setContent(id: string, content: Content): Promise<void>;
  addDigest(id: string, digest: Digest): Promise<void>;
  insertCopy(copy: NewCopy): Promise<void>;
  setCopyStored(copyId: string, storedSize: number, fingerprint: string): Promise<void>;
  /** Copies whose bytes are still to be removed, with their hosts. */
  copiesToRemove(): Promise<readonly Copy[]>;
  /** Bytes that the Copies of an owner take, with what is promised to their live Uploads. */
  takenBy(owner: string): Promise<number>;
  /** The host of a Copy's Store. */
  hostOf(storeId: string): Promise<string | undefined>;
}

export interface NewImage {
  readonly id: string;
  readonly name: string;
  readonly origin: Origin;
  readonly source: UploadSource;
  readonly placement: Placement;
  readonly format: DeclaredFormat;
  readonly declaredSize: number | null;
  readonly expectedDigest: Digest | null;
  readonly owner: string;
  readonly uploadId: string;
  readonly taskId: string;
}
export interface Filling {
  readonly uploadId: string;
  readonly taskId: string;
  readonly name: string;
  readonly format: DeclaredFormat;
  readonly declaredSize: number | null;
  readonly expectedDigest: Digest | null;
}
export interface Content {
  readonly size: number;
  readonly virtualSize: number;
  readonly format: DeclaredFormat;
  readonly digests: readonly Digest[];
}
export interface NewCopy {
  readonly id: string;
  readonly imageId: string;
  readonly storeId: string;
  readonly key: string;
}

/** What the agent has still to be told about an Upload that ended. */
export type UploadDuty = 'discard' | 'forget';

export interface UploadRow extends Upload {
  readonly hostId: string;
  readonly duty: UploadDuty | null;
  /** The Copy that its agent reads to make it, while it does. */
  readonly fromCopyId: string | null;
}

export interface UploadRecords {
  insert(upload: NewUpload): Promise<void>;
  find(id: string): Promise<UploadRow | undefined>;
  list(query: UploadQuery, owner: string | undefined): Promise<PageResult<UploadRow>>;
  /** Those that are open, paused or finishing on this host. */
  liveOn(hostId: string): Promise<readonly UploadRow[]>;
  /** Those of an Image that are open, paused or finishing. */
  liveOf(imageId: string): Promise<readonly UploadRow[]>;
  /** Open ones that this host's agent fetches by itself and whose time to be tried (again) has come. */
  duePulls(hostId: string, at: Date): Promise<readonly UploadRow[]>;
  /** Further Copies, open or finishing, that are fetched by hosts which were not heard of for so long. */
  awayPulls(seconds: number, limit: number): Promise<readonly UploadRow[]>;
  /** How many further Copies each host is fetching. */
  copyPulls(): Promise<ReadonlyMap<string, number>>;
  setFrom(id: string, copyId: string | null): Promise<void>;
  setExpected(id: string, digest: Digest | null): Promise<void>;
  setStatus(id: string, status: string): Promise<void>;
  setDuty(id: string, duty: UploadDuty | null): Promise<void>;
  /** Takes the new numbers; when bytes came, its deadline starts anew. */
  setProgress(id: string, progress: UploadProgress): Promise<void>;
  withDuty(hostId?: string): Promise<readonly UploadRow[]>;
  /** Open or paused ones whose deadline has passed. */
  expired(): Promise<readonly UploadRow[]>;
  /**
   * Binds the key to this Upload, or says what it is bound to. Waits for another transaction that
   * does the same.
   */
  claimKey(claim: KeyClaim): Promise<{ readonly requestHash: string; readonly uploadId: string } | 'claimed'>;
  releaseKey(uploadId: string): Promise<void>;
  /** Forgets keys that are older. */
  dropKeys(seconds: number): Promise<void>;
}

export interface NewUpload {
  readonly id: string;
  readonly imageId: string;
  readonly copyId: string;
  readonly taskId: string;
  readonly generation: number;
  readonly purpose: UploadPurpose;
  readonly source: UploadSource;
  readonly declaredSize: number | null;
  readonly reserved: number;
  readonly format: DeclaredFormat;
  readonly expectedDigest: Digest | null;
  readonly fingerprint: string | null;
  readonly storeId: string;
  readonly key: string;
  readonly owner: string;
  readonly expireAfterSeconds: number;
}
export interface UploadProgress {
  readonly receivedBytes: number;
  readonly zeroBytes: number;
  readonly declaredSize: number | null;
  readonly active: boolean;
  readonly expireAfterSeconds: number;
}
export interface KeyClaim {
  readonly owner: string;
  readonly key: string;
  readonly requestHash: string;
  readonly uploadId: string;
}

/** What the agent does for a Task. */
export interface Work {
  readonly kind: 'verify' | 'digest';
  readonly hostId: string;
  readonly storeId: string;
  readonly key: string;
  readonly algorithm: 'sha256' | 'sha512' | 'md5' | null;
  /** Of what is compared: the bytes are good as they lie there with this fingerprint. */
  readonly fingerprint?: string | undefined;
}

export interface TaskRow extends Omit<Task, 'rate' | 'actions'> {
  readonly generation: number;
  readonly work: Work | null;
  /** Whether the agent has still to forget its work. */
  readonly forget: boolean;
}

export interface TaskRecords {
  insert(task: NewTask): Promise<void>;
  find(id: string): Promise<TaskRow | undefined>;
  list(query: TaskQuery, owner: string | undefined): Promise<PageResult<TaskRow>>;
  events(id: string): Promise<readonly TaskEvent[]>;
  /** Tasks of this kind on this Image that have not ended. */
  liveOf(imageId: string): Promise<readonly TaskRow[]>;
  /** Tasks with work on this host that have not ended or that the agent has still to forget. */
  withWorkOn(hostId: string): Promise<readonly TaskRow[]>;
  setWork(id: string, work: Work, totalBytes: number): Promise<void>;
  setForget(id: string, forget: boolean): Promise<void>;
  setProgress(id: string, doneBytes: number, totalBytes: number): Promise<void>;
  setStatus(id: string, status: string, cause: string | null): Promise<void>;
  /** What it had before stays, where it is not said anew. */
  setResult(id: string, result: Readonly<Record<string, unknown>>): Promise<void>;
}
export interface NewTask {
  readonly id: string;
  readonly kind: TaskKind;
  readonly status: string;
  readonly imageId: string;
  readonly uploadId: string | null;
  readonly totalBytes: number | null;
  readonly work: Work | null;
  readonly owner: string;
}

export interface StoreSeen {
  readonly storeId: string;
  readonly hostId: string;
  readonly name: string;
  readonly driver: string;
  readonly capacity: number;
  readonly free: number;
  readonly problem: string | null;
  readonly filesystem?: string | null | undefined;
  readonly tags: readonly string[];
}

export interface StoreRecords {
  list(): Promise<readonly StoreRecord[]>;
  find(id: string): Promise<StoreRecord | undefined>;
  /** Locks all Stores (so that reservations are made one after the other) and returns them. */
  lockAll(): Promise<readonly StoreRecord[]>;
  change(id: string, change: StoreChange): Promise<void>;
  saveHost(host: HostSeen): Promise<void>;
  /** Returns those of which anything but times changed. */
  saveStores(stores: readonly StoreSeen[]): Promise<readonly string[]>;
  heard(hostId: string): Promise<void>;
  /** Hosts online that were not heard of for so long become offline; returns them. */
  markSilent(seconds: number): Promise<readonly string[]>;
  /** How the data listener of a host is reached; undefined: the host is not known. */
  dataListener(hostId: string): Promise<DataListener | undefined>;
}

export interface DataListener {
  readonly urls: readonly string[];
  /** PEM that its certificate is verified with; null: the usual roots, or plain HTTP. */
  readonly ca: string | null;
  /** Whose certificate it shows; null: not one of the authority of the agents. */
  readonly host: HostIdentity | null;
}

export interface AccountRecords {
  saveUser(user: string, role: Actor['role']): Promise<void>;
  user(user: string): Promise<{ readonly actor: Actor; readonly passwordHash: string | null } | undefined>;
  setPasswordHash(user: string, hash: string): Promise<void>;
  setting(key: string): Promise<string | undefined>;
  /** The values of all keys that are `PREFIX:…`. */
  settingsBelow(prefix: string): Promise<readonly string[]>;
  saveSetting(key: string, value: string): Promise<void>;
  /** Keeps it unless there is one already; returns the one that counts. */
  keepSetting(key: string, value: string): Promise<string>;
  insertLogin(login: {
    readonly id: string;
    readonly user: string;
    readonly hash: string;
    readonly lifetimeSeconds: number;
  }): Promise<Date>;
  /** The actor of a login that has not ended; its lifetime starts anew, written at most once an hour. */
  actorOfLogin(hash: string, lifetimeSeconds: number): Promise<Actor | undefined>;
  removeLogin(hash: string): Promise<void>;
  insertToken(token: NewToken): Promise<TokenRow>;
  /** The actor of a token that has not ended; notes its use at most once a minute. */
  actorOfToken(hash: string): Promise<Actor | undefined>;
  tokens(user: string): Promise<readonly TokenRow[]>;
  removeToken(user: string, id: string): Promise<boolean>;
}
export interface NewToken {
  readonly id: string;
  readonly user: string;
  readonly name: string;
  readonly hash: string;
  readonly expiresInSeconds: number | null;
}
export interface TokenRow {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly usedAt: Date | null;
  readonly expiresAt: Date | null;
}

/** Where the upload servers of live Uploads are; this alone decides where control sends their chunks. */
export interface UploadServerRecords {
  /** `ip:port` by Upload; of those that are open, paused or finishing. */
  addresses(uploadIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** Also of one that has ended: its server stays a little longer. */
  placeOf(uploadId: string): Promise<UploadServerPlace | undefined>;
  save(uploadId: string, address: string): Promise<void>;
  remove(uploadId: string): Promise<void>;
  /** The size of an Upload that was begun without one, for it, its Image and its Task, and as its reservation. */
  setSize(uploadId: string, size: number): Promise<void>;
}

export interface UploadServerPlace {
  /** `ip:port`. */
  readonly address: string;
  /** The host that has its server at this address: that of the Upload, unless the address was changed to that of another one. */
  readonly host: HostIdentity;
}

/** Names that are unique at a door although Images may share them: who creates one is alone with it, over all controls. */
export interface NameLocks {
  /**
   * Runs `act` while nobody else runs one under this name. Callers of one process wait for each other; while
   * another control is at it, it throws `already-exists` at once. A lock ends with the process that has it.
   */
  alone<T>(name: string, act: () => Promise<T>): Promise<T>;
}

export interface AuditRecords {
  append(entry: AuditEntry): Promise<void>;
}
export interface AuditEntry {
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/** Wakes control up; knows no state. Several controls on one database share the waking. */
export interface Waker {
  /** Calls `sweep` about once a minute on one of the controls, and soon after each `soon`. */
  start(sweep: () => Promise<void>): Promise<void>;
  soon(seconds: number): Promise<void>;
  stop(): Promise<void>;
}

/** One line an event. */
export interface Log {
  info(fields: Readonly<Record<string, unknown>>): void;
  warn(fields: Readonly<Record<string, unknown>>): void;
  error(fields: Readonly<Record<string, unknown>>): void;
}
