import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type OpenDatabase, openDatabase } from '../src/db/open.ts';
import { type RunningPostgres, startPostgres } from '../src/host/postgres.ts';

/** A real PostgreSQL of the test's own, and databases in it. */
export interface TestPostgres extends AsyncDisposable {
  readonly postgres: RunningPostgres;
  readonly dataDir: string;
  /** A fresh, migrated database. */
  open(): Promise<OpenDatabase & { readonly name: string }>;
  /** Runs SQL in a database, past all our code. */
  query(database: string, text: string): Promise<readonly Record<string, unknown>[]>;
}

export async function testPostgres(): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hawser-test-'));
  const postgres = await startPostgres({ dataDir });
  const query = async (database: string, text: string) => {
    const client = new pg.Client({ ...postgres.connection, database });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text)).rows;
    } finally {
      await client.end();
    }
  };
  return {
    postgres,
    dataDir,
    query,
    open: async () => {
      const name = `t${randomUUID().replaceAll('-', '')}`;
      await query('postgres', `create database ${name}`);
      return { ...(await openDatabase({ ...postgres.connection, database: name })), name };
    },
    [Symbol.asyncDispose]: async () => {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
