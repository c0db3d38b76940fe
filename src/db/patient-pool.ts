import type { PostgresPool } from 'kysely';
import type { Pool, PoolClient } from 'pg';
import { HawserError } from '../core/errors.ts';

const PATIENCE = 10_000;
const GAP = 50;

/**
 * The pool as Kysely uses it, for a PostgreSQL that may be restarted: a connection that cannot be made
 * is tried again for ten seconds, and what fails because the server went away is `unavailable`. A
 * statement is never repeated: it may have happened.
 */
export function patientPool(pool: Pool): PostgresPool {
  return {
    options: pool.options,
    connect: async () => watched(await connect(pool)),
    end: () => pool.end(),
  };
}

async function connect(pool: Pool): Promise<PoolClient> {
  for (let waited = 0; ; waited += GAP) {
    try {
      return await pool.connect();
    } catch (error) {
      if (!isAway(error) || pool.ending) throw error;
      if (waited >= PATIENCE) throw unavailable(error);
      await new Promise((resolve) => setTimeout(resolve, GAP));
    }
  }
}

/** The client as it is, but its statements fail as `unavailable`, and one that broke is not used again. */
function watched(client: PoolClient): PoolClient {
  let broken = false;
  const query = async (text: string, parameters: unknown[]) => {
    try {
      return await client.query(text, parameters);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === NOT_TEXT) throw notText(error);
      if (!isAway(error)) throw error;
      broken = true;
      throw unavailable(error);
    }
  };
  const release = () => client.release(broken);
  return new Proxy(client, {
    get: (target, name) =>
      name === 'query' ? query : name === 'release' ? release : Reflect.get(target, name, target),
  });
}

/** Shutting down, starting up, crashed; or no socket, or one that broke. */
const awayCodes = new Set([
  '57P01',
  '57P02',
  '57P03',
  '08006',
  '08001',
  '08003',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
]);

/** character_not_in_repertoire: JSON and query strings may hold a NUL, PostgreSQL's text may not. */
const NOT_TEXT = '22021';

function notText(cause: Error): HawserError {
  return new HawserError('bad-request', 'A text in the request holds a NUL character. Leave it out.', { cause });
}

function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string') return awayCodes.has(error.code);
  return /connection terminated|not queryable|timeout exceeded when trying to connect/i.test(error.message);
}

function unavailable(cause: unknown): HawserError {
  return new HawserError('unavailable', 'The database does not answer; it is usually back within seconds. Try again.', {
    cause,
  });
}
