import { Kysely, PostgresDialect } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import pg from 'pg';
import { HawserError } from '../core/errors.ts';
import type { ChangeBus } from '../service/control/host-ports.ts';
import type { ControlDb, NameLocks, Waker } from '../service/control/ports.ts';
import { createAccountRecords, createAuditRecords } from './accounts.ts';
import { createCopyRecords } from './copies.ts';
import { createHostRecords } from './hosts.ts';
import { createImageRecords } from './images.ts';
import * as first from './migrations/0001-first.ts';
import * as hostsAndCopies from './migrations/0002-hosts-and-copies.ts';
import * as joining from './migrations/0003-joining.ts';
import * as pulls from './migrations/0004-pulls.ts';
import * as uploadServers from './migrations/0005-upload-servers.ts';
import * as places from './migrations/0006-places.ts';
import * as hostKeys from './migrations/0007-host-keys.ts';
import * as sinceWhen from './migrations/0008-since-when.ts';
import { createMove } from './move.ts';
import { createNameLocks } from './name-locks.ts';
import { createChangeBus } from './notify.ts';
import { patientPool } from './patient-pool.ts';
import { createStoreRecords } from './stores.ts';
import type { Tables } from './tables.ts';
import { createTaskRecords } from './tasks.ts';
import { createUploadServerRecords } from './upload-servers.ts';
import { createUploadRecords } from './uploads.ts';
import { createWaker } from './waker.ts';

/** Where PostgreSQL is: a URL, or what host/postgres says. */
export type DatabaseAddress =
  | { readonly url: string }
  | { readonly host: string; readonly port: number; readonly user: string; readonly database: string };

export interface OpenDatabase extends AsyncDisposable {
  readonly db: ControlDb;
  readonly waker: Waker;
  readonly nameLocks: NameLocks;
  /** To the other controls on this database. */
  readonly bus: ChangeBus;
  /** Whether PostgreSQL answers; for readiness. */
  ping(): Promise<boolean>;
}

export interface OpenOptions {
  /** One line for each error of an idle connection; the pool makes new ones by itself. */
  readonly onError?: ((error: Error) => void) | undefined;
  /** Connections at most (10); the waker takes two more. */
  readonly connections?: number | undefined;
  /** How often the waker looks for work (10). */
  readonly pollSeconds?: number | undefined;
}

const migrations: Readonly<Record<string, Migration>> = {
  '0001-first': first,
  '0002-hosts-and-copies': hostsAndCopies,
  '0005-upload-servers': uploadServers,
  '0006-places': places,
  '0007-host-keys': hostKeys,
  '0008-since-when': sinceWhen,
  '0004-pulls': pulls,
  '0003-joining': joining,
};

/** Connects, brings the tables up to date (safe with several controls: one migrates, the others wait). */
export async function openDatabase(address: DatabaseAddress, options: OpenOptions = {}): Promise<OpenDatabase> {
  const onError = options.onError ?? (() => {});
  const connection = 'url' in address ? { connectionString: address.url } : address;
  const pool = new pg.Pool({
    ...connection,
    max: options.connections ?? 10,
    connectionTimeoutMillis: 30_000,
    types: { getTypeParser },
  });
  // Without a listener an idle connection that breaks would end the process.
  pool.on('error', onError);
  pool.on('connect', (client) => client.on('error', onError));
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: patientPool(pool) }) });
  try {
    await migrate(kysely, 'url' in address ? ' Look at databaseUrl (HAWSER_DATABASE_URL).' : '');
  } catch (error) {
    await kysely.destroy();
    throw error;
  }
  return {
    db: controlDb(kysely, (run) => kysely.transaction().execute((trx) => run(controlDb(trx, nested)))),
    waker: createWaker(connection, onError, options.pollSeconds ?? 10),
    nameLocks: createNameLocks(patientPool(pool)),
    bus: createChangeBus(connection, pool, onError),
    ping: async () => {
      try {
        await pool.query('select 1');
        return true;
      } catch {
        return false;
      }
    },
    [Symbol.asyncDispose]: () => kysely.destroy(),
  };
}

function controlDb(kysely: Kysely<Tables>, transaction: ControlDb['transaction']): ControlDb {
  return {
    images: createImageRecords(kysely),
    copies: createCopyRecords(kysely),
    uploads: createUploadRecords(kysely),
    tasks: createTaskRecords(kysely),
    stores: createStoreRecords(kysely),
    hosts: createHostRecords(kysely),
    accounts: createAccountRecords(kysely),
    audit: createAuditRecords(kysely),
    uploadServers: createUploadServerRecords(kysely),
    move: createMove(kysely),
    transaction,
  };
}

function nested(): never {
  throw new HawserError('internal', 'A transaction was begun inside a transaction.');
}

async function migrate(kysely: Kysely<Tables>, advice: string): Promise<void> {
  const migrator = new Migrator({ db: kysely, provider: { getMigrations: async () => ({ ...migrations }) } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  throw new HawserError(
    'unavailable',
    `The database could not be brought up to date: ${error instanceof Error ? error.message : String(error)}${advice}`,
    { cause: error },
  );
}

const INT8 = 20;

/** bigint columns hold bytes, which fit a safe integer; anything else is a fault to hear of. */
function getTypeParser(oid: number, format?: 'text' | 'binary') {
  if (oid === INT8 && format !== 'binary') return parseSafeInteger;
  return pg.types.getTypeParser(oid, format ?? 'text');
}

function parseSafeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new HawserError('internal', `The database holds ${text}, beyond 2^53.`);
  return value;
}
