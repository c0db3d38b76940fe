import type { PostgresPool, PostgresPoolClient } from 'kysely';
import { HawserError } from '../core/errors.ts';
import type { NameLocks } from '../service/control/ports.ts';

/**
 * Advisory locks of one connection, which has all of them: what runs under a lock needs connections of its own, and
 * locks that each held one would starve it. It is taken from the pool only while there is a lock.
 */
export function createNameLocks(pool: PostgresPool): NameLocks {
  const shared = sharedConnection(pool);
  const queues = new Map<string, Promise<unknown>>();
  return {
    alone: (name, act) => {
      const before = queues.get(name) ?? Promise.resolve();
      const mine = before.catch(() => {}).then(() => locked(shared, name, act)); // the one before is told itself
      queues.set(name, mine);
      return mine.finally(() => {
        if (queues.get(name) === mine) queues.delete(name);
      });
    },
  };
}

async function locked<T>(shared: SharedConnection, name: string, act: () => Promise<T>): Promise<T> {
  const run = await shared.enter();
  try {
    if (!(await run('pg_try_advisory_lock', name))) throw beingCreated(name);
    try {
      return await act();
    } finally {
      await run('pg_advisory_unlock', name).catch(() => false); // the connection broke, and the lock went with it
    }
  } finally {
    await shared.leave();
  }
}

type Run = (call: 'pg_try_advisory_lock' | 'pg_advisory_unlock', name: string) => Promise<boolean>;

interface SharedConnection {
  enter(): Promise<Run>;
  leave(): Promise<void>;
}

function sharedConnection(pool: PostgresPool): SharedConnection {
  let users = 0;
  let opening: Promise<PostgresPoolClient> | undefined;
  let tail: Promise<unknown> = Promise.resolve();
  /** One statement at a time. */
  const runOn =
    (client: PostgresPoolClient): Run =>
    (call, name) => {
      const ran = tail
        .catch(() => {})
        .then(() =>
          client.query<{ done: boolean }>(`select ${call}(hashtextextended($1, 0)) as done`, [`name:${name}`]),
        );
      tail = ran;
      return ran.then(({ rows }) => rows[0]?.done === true);
    };
  const leave = async () => {
    users--;
    if (users > 0) return;
    const closing = opening;
    opening = undefined;
    const client = await closing?.catch(() => undefined); // who opened it was told
    client?.release();
  };
  return {
    enter: async () => {
      users++;
      opening ??= pool.connect();
      try {
        return runOn(await opening);
      } catch (error) {
        await leave();
        throw error;
      }
    },
    leave,
  };
}

function beingCreated(name: string): HawserError {
  return new HawserError('already-exists', `"${name}" is just being created by somebody else. Choose another name.`);
}
