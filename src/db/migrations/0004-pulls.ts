import { type Kysely, sql } from 'kysely';

/** Which Copy an agent reads while it fetches another one from it: that one is in use. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql.raw('alter table uploads add column from_copy uuid').execute(db);
  await sql.raw("create index uploads_from on uploads (from_copy) where state in ('open', 'finishing')").execute(db);
  await sql.raw("create index copies_failed on copies (image_id) where state in ('failed', 'unknown')").execute(db);
}
