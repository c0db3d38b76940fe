import pg from 'pg';
import type { ChangeBus } from '../service/control/host-ports.ts';

const CHANNEL = 'hawser_changes';
const AGAIN_MS = 1000;

/** LISTEN and NOTIFY of PostgreSQL, on one connection of its own. It must not go through a pooler that shares connections. */
export function createChangeBus(
  connection: pg.ClientConfig,
  pool: pg.Pool,
  onError: (error: Error) => void,
): ChangeBus {
  let client: pg.Client | undefined;
  let again: NodeJS.Timeout | undefined;
  let stopped = false;
  const listen: ChangeBus['listen'] = async (hear, missed) => {
    const mine = new pg.Client({ ...connection, keepAlive: true });
    client = mine;
    const lost = () => {
      if (stopped || client !== mine) return;
      client = undefined;
      again = setTimeout(() => {
        listen(hear, missed).then(missed, (error: unknown) => {
          onError(error instanceof Error ? error : new Error(String(error)));
        });
      }, AGAIN_MS);
    };
    mine.on('notification', ({ payload }) => hear(payload ?? ''));
    mine.on('error', onError);
    mine.on('end', lost);
    try {
      await mine.connect();
      await mine.query(`listen ${CHANNEL}`);
    } catch (error) {
      await mine.end().catch(() => {}); // it may never have begun
      lost();
      throw error;
    }
  };
  return {
    publish: async (text) => {
      await pool.query('select pg_notify($1, $2)', [CHANNEL, text]);
    },
    listen,
    stop: async () => {
      stopped = true;
      clearTimeout(again);
      await client?.end();
    },
  };
}
