import { type Kysely, sql } from 'kysely';

/** Stores that share a filesystem, Copies whose file is gone and may come back, and how many lie on a Store. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  'alter table stores add column filesystem text',
  'alter table copies add column absent boolean not null default false',
  "create index copies_kept on copies (store_id) where state <> 'removed'",
];
