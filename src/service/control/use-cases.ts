import type { Digest } from '../../core/digest.ts';
import type {
  Actor,
  DeclaredFormat,
  Host,
  HostIdentity,
  Image,
  JoinToken,
  PageRequest,
  PageResult,
  Placement,
  StoreRecord,
  Task,
  TaskEvent,
  TaskKind,
  Upload,
  UploadSource,
} from '../../core/nouns.ts';
import type { ImageState, TaskState, UploadState } from '../../core/states.ts';

/**
 * What a door may ask of control. Everything throws HawserErrors; `not-found` also stands for what
 * the actor may not see. Nothing here moves a byte.
 */
export interface UseCases {
  readonly images: ImageUseCases;
  readonly copies: CopyUseCases;
  readonly uploads: UploadUseCases;
  readonly tasks: TaskUseCases;
  readonly stores: StoreUseCases;
  readonly hosts: HostUseCases;
  readonly accounts: AccountUseCases;
  readonly changes: Changes;
}

export interface ImageUseCases {
  list(actor: Actor, query: ImageQuery): Promise<PageResult<Image>>;
  get(actor: Actor, id: string): Promise<Image>;
  /** What is left out stays. */
  change(actor: Actor, id: string, change: ImageChange): Promise<Image>;
  /** Cancels its Upload, removes its Copies and their bytes. Repeatable. */
  remove(actor: Actor, id: string): Promise<void>;
  /** The ready Copy to read from. Throws `conflict` when the Image is not ready. */
  source(actor: Actor, id: string): Promise<CopySource>;
  /** A read ticket, installed on the agent. */
  access(actor: Actor, id: string): Promise<Access>;
  verify(actor: Actor, id: string): Promise<Task>;
  digest(actor: Actor, id: string, algorithm: 'sha256' | 'sha512' | 'md5'): Promise<Task>;
}

export interface ImageChange {
  readonly name?: string | undefined;
  readonly placement?: Partial<Placement> | undefined;
}

export interface ImageQuery extends PageRequest {
  readonly name?: string | undefined;
  readonly search?: string | undefined;
  readonly state?: ImageState | undefined;
}

/** Where the bytes of a ready Image lie. */
export interface CopySource {
  readonly image: Image;
  readonly hostId: string;
  readonly storeId: string;
  readonly key: string;
  /** What it had when it was sealed. */
  readonly fingerprint: string | null;
}

/** A ticket for the data listener: `url` is the resource there, `token` its ticket. */
export interface Access {
  readonly url: string;
  readonly token: string;
  /** PEM that the certificate there is verified with; null: the usual roots, or plain HTTP. */
  readonly ca: string | null;
  /** The host whose certificate must be shown there; null: it says nothing of hosts. */
  readonly host: HostIdentity | null;
  readonly expiresAt: Date;
}

export interface UploadUseCases {
  /** Picks a Store, reserves space, creates Image, Copy, Upload and Task in one transaction, then opens it on the agent. */
  begin(actor: Actor, request: BeginUpload): Promise<Upload>;
  list(actor: Actor, query: UploadQuery): Promise<PageResult<Upload>>;
  get(actor: Actor, id: string): Promise<Upload>;
  /** Where bytes for it go. Throws `paused`, `expired`, `cancelled`, `conflict` by its state when `op` is write. */
  target(actor: Actor, id: string, op: 'read' | 'write'): Promise<UploadTarget>;
  access(actor: Actor, id: string): Promise<Access>;
  /** Repeatable, also by many at once; all get the same answer. */
  finish(actor: Actor, id: string, request: FinishUpload): Promise<{ readonly upload: Upload; readonly image: Image }>;
  /** Cancels: bytes and space are given back. Repeatable. */
  cancel(actor: Actor, id: string): Promise<void>;
}

export interface BeginUpload {
  readonly name: string;
  readonly size?: number | undefined;
  readonly dataSize?: number | undefined;
  readonly format: DeclaredFormat;
  readonly digest?: Digest | undefined;
  readonly storeId?: string | undefined;
  readonly fingerprint?: string | undefined;
  readonly imageId?: string | undefined;
  readonly placement?: Partial<Placement> | undefined;
  /** The same key from the same actor gets the same Upload; with another request it is `conflict`. */
  readonly idempotencyKey?: string | undefined;
}

export interface UploadQuery extends PageRequest {
  readonly name?: string | undefined;
  readonly state?: UploadState | undefined;
  readonly fingerprint?: string | undefined;
}

export interface UploadTarget {
  readonly uploadId: string;
  readonly hostId: string;
  readonly generation: number;
}

export interface FinishUpload {
  readonly size?: number | undefined;
  readonly digest?: Digest | undefined;
}

export interface TaskUseCases {
  list(actor: Actor, query: TaskQuery): Promise<PageResult<Task>>;
  get(actor: Actor, id: string): Promise<Task>;
  events(actor: Actor, id: string): Promise<readonly TaskEvent[]>;
  pause(actor: Actor, id: string): Promise<Task>;
  resume(actor: Actor, id: string): Promise<Task>;
  cancel(actor: Actor, id: string): Promise<Task>;
}

export interface TaskQuery extends PageRequest {
  readonly states?: readonly TaskState[] | undefined;
  readonly kind?: TaskKind | undefined;
  readonly imageId?: string | undefined;
  readonly search?: string | undefined;
}

export interface StoreUseCases {
  list(actor: Actor): Promise<readonly StoreRecord[]>;
  /** What is left out stays. Admins only. */
  change(actor: Actor, id: string, change: StoreChange): Promise<StoreRecord>;
}

export interface StoreChange {
  readonly enabled?: boolean | undefined;
  /** Moves its Copies to other Stores; false takes that back. */
  readonly evicting?: boolean | undefined;
  readonly tags?: readonly string[] | undefined;
}

/** Images that agents fetch by themselves, and the Copies of Images. */
export interface CopyUseCases {
  /** Origins `download` and `clone`: picks a Store, reserves space, opens it on the agent and has it fetch. Answers at once. */
  create(actor: Actor, request: CreateImage): Promise<Image>;
  /** One more Copy, on this Store or a chosen one. Answers the Task; the one under way when there is one. */
  add(actor: Actor, imageId: string, storeId: string | undefined): Promise<Task>;
  /**
   * Fetches a failed download or clone once more, in its place; what is being fetched already stays so. Throws
   * `conflict` for what is ready, and for what came from a person.
   */
  fetch(actor: Actor, imageId: string): Promise<Image>;
  /** Removes these Copies, all or none; those that are gone already need nothing. Throws `last-copy`, `in-use`, `conflict` as core/guards says. */
  cleanup(actor: Actor, imageId: string, copyIds: readonly string[]): Promise<Image>;
}

export interface CreateImage {
  readonly name: string;
  readonly source: Exclude<UploadSource, { readonly kind: 'client' }>;
  readonly format: DeclaredFormat;
  readonly digest?: Digest | undefined;
  readonly placement?: Partial<Placement> | undefined;
  readonly storeId?: string | undefined;
  readonly idempotencyKey?: string | undefined;
}

/** Everybody sees the Hosts; only admins change them. */
export interface HostUseCases {
  list(actor: Actor): Promise<readonly Host[]>;
  get(actor: Actor, id: string): Promise<Host>;
  change(actor: Actor, id: string, change: HostChange): Promise<Host>;
  /** Takes it out. `conflict` while it is online or Copies are counted on it, unless they are lost for good (`force`). */
  remove(actor: Actor, id: string, options: { readonly force: boolean }): Promise<void>;
  joinTokens(actor: Actor): Promise<readonly JoinToken[]>;
  /** `warning` says when hosts on other machines cannot use it, and what to do about that. */
  createJoinToken(
    actor: Actor,
    request: { readonly name: string; readonly expiresInSeconds: number },
  ): Promise<JoinToken & { readonly secret: string; readonly warning: string | null }>;
  removeJoinToken(actor: Actor, id: string): Promise<void>;
}

export interface HostChange {
  readonly enabled?: boolean | undefined;
  /** Drains it: its Copies are moved to other Hosts; false takes that back. */
  readonly evicting?: boolean | undefined;
  readonly tags?: readonly string[] | undefined;
}

export interface AccountUseCases {
  /** Throws `unauthenticated`. The same message and time whether the user exists or not. */
  signIn(request: SignIn): Promise<SignedIn>;
  signOut(loginSecret: string): Promise<void>;
  /** Who holds this API token, the admin token, or this login cookie. Throws `unauthenticated`. */
  actorOf(credential: Credential): Promise<Actor>;
  hasPassword(actor: Actor): Promise<boolean>;
  setPassword(
    actor: Actor,
    request: { readonly password: string; readonly current?: string | undefined },
  ): Promise<void>;
  tokens(actor: Actor): Promise<readonly ApiToken[]>;
  createToken(
    actor: Actor,
    request: { readonly name: string; readonly expiresInSeconds?: number | undefined },
  ): Promise<ApiToken & { readonly secret: string }>;
  removeToken(actor: Actor, id: string): Promise<void>;
}

export type SignIn =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'password'; readonly user: string; readonly password: string };
export interface SignedIn {
  readonly actor: Actor;
  /** The cookie's value. */
  readonly loginSecret: string;
  readonly expiresAt: Date;
}
export type Credential =
  | { readonly kind: 'bearer'; readonly secret: string }
  | { readonly kind: 'login'; readonly secret: string };
export interface ApiToken {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly usedAt: Date | null;
  readonly expiresAt: Date | null;
}

/** What changed, for the live streams: at most four a second for one thing. Owned by somebody; admins hear all. */
export interface Changes {
  subscribe(actor: Actor, listener: (change: Change) => void): () => void;
}
export type Change =
  | { readonly kind: 'image'; readonly image: Image }
  | { readonly kind: 'image-deleted'; readonly id: string }
  | { readonly kind: 'upload'; readonly upload: Upload }
  | { readonly kind: 'task'; readonly task: Task }
  | { readonly kind: 'store'; readonly store: StoreRecord }
  | { readonly kind: 'host'; readonly host: Host }
  /** Others may have been missed: whoever hears it reads all lists again. */
  | { readonly kind: 'missed' };
