import type { AddressInfo } from 'node:net';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { createServer, type ServerSettings } from '../../_http/server.ts';
import { type ApiAppSettings, createApiApp } from '../app.ts';
import { createMetrics } from '../metrics.ts';
import { ADMIN_TOKEN, type MemoryUseCases, memoryUseCases } from './memory-use-cases.ts';

export interface RunningApi extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly server: FastifyInstance;
  readonly useCases: MemoryUseCases;
  /** Every line that was logged, parsed. */
  readonly log: Record<string, unknown>[];
  /** fetch with the admin's token below /api/v1, or anywhere when the path begins with http. */
  ask(path: string, init?: RequestInit): Promise<Response>;
}

export interface StartSettings {
  readonly server?: Partial<ServerSettings>;
  readonly app?: Partial<ApiAppSettings>;
  /** Adds routes before the server listens. */
  readonly mount?: (server: FastifyInstance) => void;
}

/** The API door with real HTTP on a free port, over use cases in memory. */
export async function startApi(settings: StartSettings = {}): Promise<RunningApi> {
  const log: Record<string, unknown>[] = [];
  const logger: FastifyBaseLogger = pino(
    { level: 'debug' },
    { write: (line: string) => void log.push(JSON.parse(line)) },
  );
  let count = 0;
  const server = createServer({ log: logger, randomId: () => `request-${++count}`, ...settings.server });
  const useCases = memoryUseCases();
  await createApiApp({
    server,
    useCases,
    version: '1.2.3',
    chunkSize: 16 * 1024 * 1024,
    registerDataRoutes: () => {},
    ready: [],
    webRoot: undefined,
    publicUrl: undefined,
    metrics: createMetrics(),
    now: () => performance.now(),
    ...settings.app,
  });
  settings.mount?.(server);
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;
  const scheme = settings.server?.tls === undefined ? 'http' : 'https';
  const url = `${scheme}://127.0.0.1:${port}`;
  return {
    url,
    port,
    server,
    useCases,
    log,
    ask: (path, init = {}) => {
      const headers = new Headers(init.headers);
      if (!headers.has('authorization') && !headers.has('cookie'))
        headers.set('authorization', `Bearer ${ADMIN_TOKEN}`);
      return fetch(path.startsWith('http') ? path : `${url}/api/v1${path}`, { redirect: 'manual', ...init, headers });
    },
    [Symbol.asyncDispose]: async () => await server.close(),
  };
}
