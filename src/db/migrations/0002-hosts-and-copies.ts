import { type Kysely, sql } from 'kysely';

/** Several hosts, Images with several Copies, and Uploads that agents fetch by themselves. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const tags = "jsonb not null default '[]'";

const statements = [
  `alter table hosts add column agent_url text, add column data_ca text, add column link_version integer not null default 0,
    add column tags ${tags}, add column enabled boolean not null default true, add column evicting boolean not null default false,
    add column generation integer not null default 1, add column outdated text, add column removed_at timestamptz(3)`,
  `alter table stores add column evicting boolean not null default false, add column tags ${tags}`,
  `alter table images add column source jsonb not null default '{"kind":"client"}', add column min_copies integer not null default 1,
    add column store_tags ${tags}, add column host_tags ${tags}`,
  // A Copy that could not be made is tried again after retry_at, later each time.
  `alter table copies add column tries integer not null default 0, add column retry_at timestamptz(3), add column checked_at timestamptz(3)`,
  `alter table uploads add column purpose text not null default 'fill' check (purpose in ('fill', 'copy')),
    add column source jsonb not null default '{"kind":"client"}'`,
  'create index copies_store on copies (store_id)',
  'create index uploads_image on uploads (image_id)',
  `create table join_tokens (id uuid primary key, name text not null, hash text not null unique, created_by text not null,
    created_at timestamptz(3) not null default now(), expires_at timestamptz(3) not null, used_at timestamptz(3), host_id uuid)`,
];
