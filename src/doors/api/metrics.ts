import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

/** A registry with the process's own metrics; others add theirs to it. */
export function createMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** What is counted at one Store: calls that were made, bytes that were moved, by operation. */
export interface StoreCounts {
  readonly name: string;
  count(operation: StoreOperation): { readonly calls: number; readonly bytes: number };
}
const storeOperations = ['read', 'write', 'zero', 'flush'] as const;
export type StoreOperation = (typeof storeOperations)[number];

/** Store operations, read when somebody scrapes. */
export function measureStores(registry: Registry, stores: readonly StoreCounts[]): void {
  const counter = (name: string, help: string, value: (counts: { calls: number; bytes: number }) => number) =>
    new Counter({
      name,
      help,
      labelNames: ['store', 'operation'],
      registers: [registry],
      collect() {
        this.reset();
        for (const store of stores) {
          for (const operation of storeOperations)
            this.inc({ store: store.name, operation }, value(store.count(operation)));
        }
      },
    });
  counter('hawser_store_operations_total', 'Operations on a Store since the start.', ({ calls }) => calls);
  counter('hawser_store_bytes_total', 'Bytes moved by operations on a Store since the start.', ({ bytes }) => bytes);
}

/** Counts every answer of `app`, by method, route pattern and status, and how long it took. */
export function measureRequests(app: FastifyInstance, registry: Registry): void {
  const requests = new Counter({
    name: 'hawser_http_requests_total',
    help: 'Answers by method, route and status.',
    labelNames: ['method', 'route', 'status'],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: 'hawser_http_request_seconds',
    help: 'Seconds from the headers to the end of the answer. Bodies of hours land in the last bucket.',
    labelNames: ['method', 'route'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600],
    registers: [registry],
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = routeOf(request);
    requests.inc({ method: request.method, route, status: reply.statusCode });
    seconds.observe({ method: request.method, route }, reply.elapsedTime / 1000);
  });
}

/**
 * `/metrics` in the Prometheus text format: open to this machine, to others with a token
 * (`authenticate` throws). Numbers tell an outsider how much is moved and how fast.
 */
export function metricsRoute(
  app: FastifyInstance,
  registry: Registry,
  authenticate: (request: FastifyRequest) => Promise<unknown>,
): void {
  app.get('/metrics', { config: { quiet: true }, schema: { hide: true } }, async (request, reply) => {
    if (!isLocal(request)) await authenticate(request);
    return reply
      .header('cache-control', 'no-store')
      .type(registry.contentType)
      .send(await registry.metrics());
  });
}

function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? 'none';
}

/** Not through a proxy: to one on this machine everybody is local. */
function isLocal(request: FastifyRequest): boolean {
  if (request.headers['x-forwarded-for'] !== undefined || request.headers.forwarded !== undefined) return false;
  const address = request.socket.remoteAddress ?? '';
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}
