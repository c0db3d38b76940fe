import { type Kysely, sql } from 'kysely';
import { copyStates, imageStates, type StateTable, statesOf, taskStates, uploadStates } from '../../core/states.ts';

/** The first tables: hosts and Stores, Images with Copies and Uploads, Tasks with their history, accounts. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of [...places, ...content, ...work, ...accounts]) await sql.raw(statement).execute(db);
}

function state<S extends string>(table: StateTable<S>): string {
  return `state text not null check (state in (${statesOf(table)
    .map((one) => `'${one}'`)
    .join(', ')}))`;
}

const made = 'created_at timestamptz(3) not null default now()';

const places = [
  `create table hosts (id uuid primary key, name text not null, boot_id text not null, version text not null,
    data_urls jsonb not null, online boolean not null, seen_at timestamptz(3), ${made})`,
  `create table stores (id uuid primary key, host_id uuid not null references hosts, name text not null, driver text not null,
    capacity bigint not null, free bigint not null, problem text, enabled boolean not null default true,
    seen_at timestamptz(3), ${made})`,
];

const content = [
  `create table images (id uuid primary key, name text not null, ${state(imageStates)}, status text not null default '',
    origin text not null, format text not null, declared_size bigint, size bigint, virtual_size bigint,
    digests jsonb not null default '[]', expected_digest text, upload_id uuid, task_id uuid, owner text not null, ${made},
    ready_at timestamptz(3))`,
  'create index images_page on images (created_at desc, id desc)',
  'create index images_owner on images (owner, created_at desc, id desc)',
  'create index images_name on images (name)',
  `create table copies (id uuid primary key, image_id uuid not null references images, store_id uuid not null references stores,
    key text not null, ${state(copyStates)}, status text not null default '', stored_size bigint, fingerprint text, ${made},
    unique (store_id, key))`,
  'create index copies_image on copies (image_id)',
  "create index copies_removing on copies (id) where state = 'removing'",
  `create table uploads (id uuid primary key, image_id uuid not null references images, copy_id uuid not null references copies,
    task_id uuid not null, ${state(uploadStates)}, status text not null default '', generation integer not null,
    declared_size bigint, reserved bigint not null, received_bytes bigint not null default 0, zero_bytes bigint not null default 0,
    format text not null, expected_digest text, fingerprint text, store_id uuid not null references stores, key text not null,
    owner text not null, duty text check (duty in ('discard', 'forget')), ${made}, active_at timestamptz(3),
    expires_at timestamptz(3) not null, ended_at timestamptz(3))`,
  'create index uploads_page on uploads (created_at desc, id desc)',
  'create index uploads_owner on uploads (owner, created_at desc, id desc)',
  "create index uploads_live on uploads (store_id) where state in ('open', 'paused', 'finishing')",
  'create index uploads_duty on uploads (id) where duty is not null',
  `create table idempotency_keys (owner text not null, key text not null, request_hash text not null, upload_id uuid not null,
    ${made}, primary key (owner, key))`,
  'create index idempotency_upload on idempotency_keys (upload_id)',
];

const work = [
  `create table tasks (id uuid primary key, kind text not null, ${state(taskStates)}, status text not null default '', cause text,
    generation integer not null default 1, image_id uuid references images, upload_id uuid, host_id uuid, work jsonb,
    forget boolean not null default false, done_bytes bigint not null default 0, total_bytes bigint, result jsonb,
    owner text not null, ${made}, started_at timestamptz(3), ended_at timestamptz(3))`,
  'create index tasks_page on tasks (created_at desc, id desc)',
  'create index tasks_owner on tasks (owner, created_at desc, id desc)',
  'create index tasks_image on tasks (image_id)',
  'create index tasks_host on tasks (host_id) where ended_at is null or forget',
  `create table task_events (id bigint generated always as identity primary key, task_id uuid not null references tasks,
    at timestamptz(3) not null default clock_timestamp(), from_state text, to_state text not null, cause text, status text not null)`,
  'create index task_events_task on task_events (task_id, id)',
];

const accounts = [
  `create table users (name text primary key, role text not null check (role in ('admin', 'user')), password_hash text, ${made})`,
  `create table logins (id uuid primary key, user_name text not null references users, hash text not null unique, ${made},
    expires_at timestamptz(3) not null)`,
  `create table api_tokens (id uuid primary key, user_name text not null references users, name text not null,
    hash text not null unique, ${made}, used_at timestamptz(3), expires_at timestamptz(3))`,
  'create index api_tokens_user on api_tokens (user_name)',
  'create table settings (key text primary key, value text not null)',
  `create table audit_log (id bigint generated always as identity primary key, at timestamptz(3) not null default clock_timestamp(),
    actor text not null, action text not null, subject text not null, detail jsonb)`,
  // History is never rewritten, not even by a fault of ours.
  `create function refuse_change() returns trigger language plpgsql as
    $$ begin raise exception '% is append only', tg_table_name; end $$`,
  `create trigger task_events_append_only before update or delete on task_events
    for each row execute function refuse_change()`,
  `create trigger audit_log_append_only before update or delete on audit_log
    for each row execute function refuse_change()`,
];
