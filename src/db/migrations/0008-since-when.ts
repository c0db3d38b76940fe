import { type Kysely, sql } from 'kysely';

/** Since when a Copy has been in its state; of older ones the best guess. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  'alter table copies add column state_at timestamptz(3) not null default now()',
  `update copies c set state_at = case when c.state = 'ready' then greatest(c.created_at, i.ready_at) else c.created_at end
     from images i where i.id = c.image_id`,
];
