import { type Kysely, sql } from 'kysely';

/** Whose a host is: the key that it joined with. Without that key nobody joins in its name. */
export async function up(db: Kysely<never>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  'alter table hosts add column key_hash text',
  `update hosts h set key_hash = (select t.key_hash from join_tokens t
     where t.host_id = h.id and t.key_hash is not null order by t.used_at desc limit 1)`,
];
