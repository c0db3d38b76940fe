import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HawserError } from '../../core/errors.ts';
import { collection } from './collection.ts';
import type { LonghornScope } from './scope.ts';

/** A watcher that does not keep up is dropped. */
const MOST_WAITING = 4 * 1024 * 1024;
const unit = { ms: 1, s: 1000, m: 60_000 } as const;

/** `/v1/ws/{period}/backingimages`: the whole collection at once, then whenever it has changed, looked at each period. */
export function watchRoutes(app: FastifyInstance, scope: LonghornScope): void {
  const closing = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const close of closing) close();
  });
  for (const path of ['/ws/backingimages', '/ws/:period/backingimages']) {
    // Looked at before it becomes a WebSocket: then a refusal can still be read.
    const preValidation = async (request: FastifyRequest) => mustBeWatch(request);
    const quiet: object = { quiet: true };
    app.get(path, { websocket: true, preValidation, schema: { hide: true }, config: quiet }, (socket, request) => {
      const look = watcher(scope, request, (text) => {
        if (socket.bufferedAmount > MOST_WAITING) socket.terminate();
        else socket.send(text);
      });
      const timer = setInterval(() => void look(), periodOf(request));
      const close = () => socket.close(1001);
      closing.add(close);
      socket.on('close', () => {
        clearInterval(timer);
        closing.delete(close);
      });
      void look();
    });
  }
}

/** Looks and tells; looks again only when it has told. */
function watcher(scope: LonghornScope, request: FastifyRequest, tell: (text: string) => void): () => Promise<void> {
  const actor = scope.actorOf(request);
  const base = scope.baseOf(request);
  let told = '';
  let busy = false;
  return async () => {
    if (busy) return;
    busy = true;
    try {
      const text = JSON.stringify(collection(base, 'backingImage', await scope.images.list(actor, base)));
      if (text !== told) tell(text);
      told = text;
    } catch (error) {
      // What cannot be read now (the database is away) is told when it can.
      request.log.warn({ event: 'watch.untold', err: error });
    } finally {
      busy = false;
    }
  };
}

function mustBeWatch(request: FastifyRequest): void {
  periodOf(request);
  if (request.ws) return;
  throw new HawserError('bad-request', 'This is a WebSocket: ask with "upgrade: websocket", or GET /v1/backingimages.');
}

function periodOf(request: FastifyRequest): number {
  const { period: text = '1s' } = request.params as { readonly period?: string };
  const [, count = '', name = ''] = /^(\d{1,6})(ms|s|m)$/.exec(text) ?? [];
  if (count === '')
    throw new HawserError('bad-request', `A period is written like 1s or 500ms; found "${text.slice(0, 20)}".`);
  return Math.max(250, Number(count) * unit[name === 'ms' || name === 'm' ? name : 's']);
}
