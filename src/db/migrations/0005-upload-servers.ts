import { type Kysely, sql } from 'kysely';

/** Where the upload servers are that take Uploads in chunks. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql
    .raw(
      `create table upload_servers (upload_id uuid primary key references uploads, upload_address text not null,
        launched_at timestamptz(3) not null default now())`,
    )
    .execute(db);
}
