import { PgBoss } from 'pg-boss';
import type { Waker } from '../service/control/ports.ts';

const QUEUE = 'sweep';

/**
 * pg-boss in its own schema `pgboss` of the same database: with several controls each wake-up reaches
 * one of them. It polls seldom; what is urgent is done at once by whoever causes it.
 */
export function createWaker(
  connection:
    | { readonly connectionString: string }
    | { readonly host: string; readonly port: number; readonly user: string; readonly database: string },
  onError: (error: Error) => void,
  pollSeconds: number,
): Waker {
  let boss: PgBoss | undefined;
  return {
    start: async (sweep) => {
      boss = new PgBoss({
        ...connection,
        max: 2,
        schema: 'pgboss',
        superviseIntervalSeconds: 120,
        maintenanceIntervalSeconds: 3600,
        cronMonitorIntervalSeconds: 30,
        cronWorkerIntervalSeconds: 30,
        flowIntervalSeconds: 600,
        bamIntervalSeconds: 600,
      });
      boss.on('error', onError);
      await boss.start();
      await boss.createQueue(QUEUE, { policy: 'short', retryLimit: 0, expireInSeconds: 300, deleteAfterSeconds: 3600 });
      await boss.work(QUEUE, { pollingIntervalSeconds: pollSeconds }, sweep);
      await boss.schedule(QUEUE, '* * * * *');
    },
    soon: async (seconds) => {
      await boss?.send(QUEUE, {}, { startAfter: seconds });
    },
    stop: async () => {
      await boss?.stop({ graceful: true, timeout: 5_000, close: true });
      boss = undefined;
    },
  };
}
