import type { ColumnType, Generated } from 'kysely';
import type { UploadPurpose, UploadSource } from '../core/nouns.ts';
import type { CopyState, ImageState, TaskState, UploadState } from '../core/states.ts';

/** The tables as Kysely sees them. Digests are `algorithm:hex`; bigints are numbers (see open.ts). */
type Made = ColumnType<Date, never, never>;
type When = ColumnType<Date | null, Date | null | undefined, Date | null>;
/** State columns are changed by move.ts alone. */
type State<S extends string> = ColumnType<S, S, never>;
type Json<T> = ColumnType<T, string, string>;
type JsonWithDefault<T> = ColumnType<T, string | undefined, string>;

export interface Tables {
  readonly hosts: HostTable;
  readonly stores: StoreTable;
  readonly images: ImageTable;
  readonly copies: CopyTable;
  readonly uploads: UploadTable;
  readonly tasks: TaskTable;
  readonly task_events: TaskEventTable;
  readonly users: UserTable;
  readonly logins: LoginTable;
  readonly api_tokens: TokenTable;
  readonly idempotency_keys: KeyTable;
  readonly settings: { readonly key: string; readonly value: string };
  readonly audit_log: AuditTable;
  readonly join_tokens: JoinTokenTable;
  readonly upload_servers: UploadServerTable;
  readonly controls: ControlTable;
}

interface HostTable {
  readonly id: string;
  readonly name: string;
  readonly boot_id: string;
  readonly version: string;
  readonly data_urls: Json<readonly string[]>;
  readonly online: boolean;
  /** Null: in control's own process. */
  readonly agent_url: string | null;
  readonly data_ca: string | null;
  readonly link_version: Generated<number>;
  readonly tags: JsonWithDefault<readonly string[]>;
  readonly enabled: Generated<boolean>;
  readonly evicting: Generated<boolean>;
  readonly generation: Generated<number>;
  /** Why this control cannot work with its agent. */
  readonly outdated: string | null;
  readonly removed_at: When;
  readonly heartbeat_at: When;
  /** Of the public key that it joined with, SHA-256 as hex; null: it never did. */
  readonly key_hash: string | null;
  readonly seen_at: When;
  readonly created_at: Made;
}

interface StoreTable {
  readonly id: string;
  readonly host_id: string;
  readonly name: string;
  readonly driver: string;
  /** Stores of one host with the same word share their space. */
  readonly filesystem: string | null;
  readonly capacity: number;
  readonly free: number;
  readonly problem: string | null;
  readonly enabled: Generated<boolean>;
  readonly evicting: Generated<boolean>;
  readonly tags: JsonWithDefault<readonly string[]>;
  readonly seen_at: When;
  readonly created_at: Made;
}

interface ImageTable {
  readonly id: string;
  readonly name: string;
  readonly state: State<ImageState>;
  readonly status: string;
  readonly origin: string;
  readonly source: JsonWithDefault<UploadSource>;
  readonly min_copies: Generated<number>;
  readonly store_tags: JsonWithDefault<readonly string[]>;
  readonly host_tags: JsonWithDefault<readonly string[]>;
  readonly format: string;
  readonly declared_size: number | null;
  readonly size: number | null;
  readonly virtual_size: number | null;
  readonly digests: Json<readonly string[]>;
  readonly expected_digest: string | null;
  readonly upload_id: string | null;
  readonly task_id: string | null;
  readonly owner: string;
  readonly created_at: Made;
  readonly ready_at: When;
}

interface CopyTable {
  readonly id: string;
  readonly image_id: string;
  readonly store_id: string;
  readonly key: string;
  readonly state: State<CopyState>;
  readonly status: string;
  readonly stored_size: number | null;
  readonly fingerprint: string | null;
  /** How often it could not be made, and when it is tried again. */
  readonly tries: Generated<number>;
  readonly retry_at: When;
  /** When its fingerprint was last compared. */
  readonly checked_at: When;
  /** It failed because its file was not there; it is looked at on, in case the file comes back. */
  readonly absent: Generated<boolean>;
  readonly created_at: Made;
  readonly state_at: Made;
}

interface UploadTable {
  readonly id: string;
  readonly image_id: string;
  readonly copy_id: string;
  readonly task_id: string;
  readonly state: State<UploadState>;
  readonly status: string;
  readonly generation: number;
  readonly purpose: Generated<UploadPurpose>;
  readonly source: JsonWithDefault<UploadSource>;
  readonly declared_size: number | null;
  readonly reserved: number;
  readonly received_bytes: number;
  readonly zero_bytes: number;
  readonly format: string;
  readonly expected_digest: string | null;
  readonly fingerprint: string | null;
  readonly store_id: string;
  readonly key: string;
  readonly owner: string;
  readonly duty: string | null;
  readonly from_copy: string | null;
  readonly created_at: Made;
  readonly active_at: When;
  readonly expires_at: ColumnType<Date, Date, Date>;
  readonly ended_at: When;
}

interface TaskTable {
  readonly id: string;
  readonly kind: string;
  readonly state: State<TaskState>;
  readonly status: string;
  readonly cause: string | null;
  readonly generation: Generated<number>;
  readonly image_id: string | null;
  readonly upload_id: string | null;
  readonly host_id: string | null;
  readonly work: Json<unknown> | null;
  readonly forget: Generated<boolean>;
  readonly done_bytes: number;
  readonly total_bytes: number | null;
  readonly result: Json<unknown> | null;
  readonly owner: string;
  readonly created_at: Made;
  readonly started_at: When;
  readonly ended_at: When;
}

interface TaskEventTable {
  readonly id: Generated<number>;
  readonly task_id: string;
  readonly at: Made;
  readonly from_state: string | null;
  readonly to_state: string;
  readonly cause: string | null;
  readonly status: string;
}

interface UserTable {
  readonly name: string;
  readonly role: string;
  readonly password_hash: string | null;
  readonly created_at: Made;
}

interface LoginTable {
  readonly id: string;
  readonly user_name: string;
  readonly hash: string;
  readonly created_at: Made;
  readonly expires_at: ColumnType<Date, Date, Date>;
}

interface TokenTable {
  readonly id: string;
  readonly user_name: string;
  readonly name: string;
  readonly hash: string;
  readonly created_at: Made;
  readonly used_at: When;
  readonly expires_at: When;
}

interface KeyTable {
  readonly owner: string;
  readonly key: string;
  readonly request_hash: string;
  readonly upload_id: string;
  readonly created_at: Made;
}

interface JoinTokenTable {
  readonly id: string;
  readonly name: string;
  readonly hash: string;
  readonly created_by: string;
  readonly created_at: Made;
  readonly expires_at: ColumnType<Date, Date, Date>;
  readonly used_at: When;
  readonly host_id: string | null;
  /** Who used it: SHA-256 of the public key. */
  readonly key_hash: string | null;
}

interface ControlTable {
  readonly id: string;
  readonly urls: Json<readonly string[]>;
  readonly seen_at: ColumnType<Date, Date, Date>;
}

interface UploadServerTable {
  readonly upload_id: string;
  readonly upload_address: string;
  readonly launched_at: Made;
}

interface AuditTable {
  readonly id: Generated<number>;
  readonly at: Made;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: Json<unknown> | null;
}
