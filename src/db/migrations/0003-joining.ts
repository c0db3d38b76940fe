import { type Kysely, sql } from 'kysely';

/** Agents that join and give signs of life, and the controls that they may turn to. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // Whose join it was, so that the same one may be repeated after a lost answer.
  'alter table join_tokens add column key_hash text',
  'alter table hosts add column heartbeat_at timestamptz(3)',
  'create table controls (id uuid primary key, urls jsonb not null, seen_at timestamptz(3) not null)',
];
