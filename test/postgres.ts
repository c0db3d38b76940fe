import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type OpenDatabase, openDatabase } from '../src/db/open.ts';
import { type RunningPostgres, startPostgres } from '../src/host/postgres.ts';
import { makeDataFolder } from './data-folder.ts';

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
  const dataDir = await makeDataFolder(await mkdtemp(join(tmpdir(), 'hawser-test-')));
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
  const create = async (name: string, template: string) => {
    await query('postgres', `create database ${name} template ${template}`);
    // Nothing here is about what a machine that loses its power keeps.
    await query('postgres', `alter database ${name} set synchronous_commit = off`);
    return { ...postgres.connection, database: name };
  };
  let migrated: Promise<string> | undefined;
  return {
    postgres,
    dataDir,
    query,
    open: async () => {
      const name = `t${randomUUID().replaceAll('-', '')}`;
      migrated ??= migratedTemplate(create);
      return { ...(await openDatabase(await create(name, await migrated))), name };
    },
    [Symbol.asyncDispose]: async () => {
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** All databases of a test are copies of one. */
async function migratedTemplate(
  create: (name: string, template: string) => Promise<Parameters<typeof openDatabase>[0]>,
): Promise<string> {
  const first = await openDatabase(await create('migrated', 'template0'));
  await first[Symbol.asyncDispose]();
  return 'migrated';
}
