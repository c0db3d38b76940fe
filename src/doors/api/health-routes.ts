import type { FastifyInstance } from 'fastify';
import { problemOf } from '../_http/problem.ts';

/** Something that must work before this process may get requests. `check` throws what is wrong. */
export interface ReadyCheck {
  readonly name: string;
  check(signal: AbortSignal): Promise<void>;
}

/** `/healthz`: the process answers. `/readyz`: everything it stands on answers too, 503 and the reasons otherwise. */
export function healthRoutes(app: FastifyInstance, checks: readonly ReadyCheck[]): void {
  const quiet = { config: { quiet: true }, schema: { hide: true } };
  app.get('/healthz', quiet, async (_request, reply) => {
    return reply.header('cache-control', 'no-store').send({ status: 'ok' });
  });
  app.get('/readyz', quiet, async (request, reply) => {
    const signal = AbortSignal.timeout(5000);
    const results = await Promise.all(checks.map((check) => resultOf(check, signal, request.id)));
    const ready = results.every(({ ok }) => ok);
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .send({ status: ready ? 'ready' : 'not ready', checks: results });
  });
}

async function resultOf(ready: ReadyCheck, signal: AbortSignal, requestId: string) {
  try {
    await Promise.race([ready.check(signal), rejectOn(signal)]);
    return { name: ready.name, ok: true };
  } catch (error) {
    return { name: ready.name, ok: false, detail: problemOf(error, requestId).body.detail };
  }
}

function rejectOn(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
