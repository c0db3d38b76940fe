import { randomBytes, randomUUID } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import { HawserError } from '../core/errors.ts';
import { openDatabase } from '../db/open.ts';
import { dataRoutes } from '../doors/_http/data-routes.ts';
import { createServer, type HttpLog, type HttpServer } from '../doors/_http/server.ts';
import { createApiApp } from '../doors/api/app.ts';
import { createMetrics, measureStores } from '../doors/api/metrics.ts';
import { type DataFolder, openDataFolder } from '../host/data-folder.ts';
import { startPostgres } from '../host/postgres.ts';
import { webRoot } from '../host/web-root.ts';
import { connectAgent } from '../links/agent-link.ts';
import { ensureAdminToken } from '../service/control/accounts.ts';
import { type Control, createControl } from '../service/control/control.ts';
import { startHost } from './host-role.ts';
import { isLoopback, listen, type TlsChoice, tlsFor, urlOf } from './listeners.ts';
import { VERSION } from './version.ts';

export interface ServeOptions {
  readonly log: HttpLog;
  /** Fires to stop. */
  readonly signal: AbortSignal;
}

export interface Serving {
  /** As in `run/addresses.json`. */
  readonly addresses: Readonly<Record<string, string>>;
  readonly adminTokenPath: string;
  readonly adminToken: string;
  /** Whether the page was built. */
  readonly page: boolean;
  /** What was received stays; resolves when every process and socket of ours is gone. */
  stop(): Promise<void>;
}

/** Everything in one process on one machine: `hawser serve`. Resolves once requests are answered. */
export async function serve(config: Config, options: ServeOptions): Promise<Serving> {
  const stack = new AsyncDisposableStack();
  try {
    const serving = await start(config, options, stack);
    return { ...serving, stop: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** Started in this order, stopped in the reverse one. */
async function start(
  config: Config,
  { log, signal }: ServeOptions,
  stack: AsyncDisposableStack,
): Promise<Omit<Serving, 'stop'>> {
  const folder = stack.use(await openDataFolder(config.dataDir));
  const tls = await tlsFor(config, folder, new Date());
  const adminToken = await folder.adminToken(() => randomBytes(32).toString('base64url'));
  signal.throwIfAborted();
  const { control, database } = await startControl(config, { log, folder, stack });
  signal.throwIfAborted();
  await ensureAdminToken(database.db, adminToken);

  const dataServer = newServer(log, tls.data);
  const dataUrls: string[] = [];
  const host = stack.use(
    await startHost({ config, folder, version: VERSION, log, dataServer, dataUrls: () => dataUrls }),
  );
  stack.defer(() => dataServer.close());
  await listen(dataServer, 'dataListen', config.dataListen);
  dataUrls.push(urlOf(dataServer, tls.data));

  const server = newServer(log, tls.main);
  const page = webRoot();
  const metrics = createMetrics();
  measureStores(metrics, host.counts);
  await createApiApp({
    useCases: control,
    server,
    version: VERSION,
    chunkSize: config.uploads.chunkSize,
    registerDataRoutes: (app, policy) =>
      dataRoutes(app, {
        plane: host.agent.plane,
        policy,
        uploadPath: '/uploads/:id',
        copyPath: '/images/:id',
      }),
    ready: [{ name: 'database', check: () => mustAnswer(database.ping) }],
    webRoot: page,
    publicUrl: config.publicUrl === '' ? undefined : config.publicUrl,
    metrics,
    now: () => performance.now(),
  });
  stack.defer(() => server.close());
  // First of all when stopping: bodies end with an answer, then the listeners close without waiting for them.
  stack.defer(() => host.quiet());

  await startReports(control, host.socket, { signal, stack });
  signal.throwIfAborted();
  await listen(server, 'listen', config.listen);
  const addresses = { api: urlOf(server, tls.main), data: urlOf(dataServer, tls.data), agent: `unix:${host.socket}` };
  await folder.announce(addresses);
  log.info({ event: 'serve.ready', ...addresses });
  return { addresses, adminToken, adminTokenPath: folder.at('run', 'admin-token'), page: page !== undefined };

  function newServer(logger: HttpLog, choice: TlsChoice): HttpServer {
    return createServer({
      log: logger,
      tls: choice.keys,
      randomId: randomUUID,
      trustProxy: isLoopback(config.listen) ? 'loopback' : undefined,
    });
  }
}

interface ControlParts {
  readonly log: HttpLog;
  readonly folder: DataFolder;
  readonly stack: AsyncDisposableStack;
}

async function startControl(config: Config, { log, folder, stack }: ControlParts) {
  const postgres =
    config.databaseUrl === ''
      ? await startPostgres({ dataDir: folder.path, log: (fields) => log.info(fields) })
      : undefined;
  if (postgres !== undefined) stack.defer(() => postgres.stop());
  const database = stack.use(
    await openDatabase(postgres?.connection ?? { url: config.databaseUrl }, {
      onError: (error) => log.warn({ event: 'database.connection-lost', error: error.message }),
    }),
  );
  const control = createControl({
    db: database.db,
    waker: database.waker,
    config: { uploads: config.uploads, copies: config.copies, limits: config.limits },
    randomId: randomUUID,
    now: () => new Date(),
    log,
  });
  return { control, database };
}

/** Follows the agent, and waits for its first report: before it no upload could be begun. */
async function startReports(
  control: Control,
  socket: string,
  { signal, stack }: { readonly signal: AbortSignal; readonly stack: AsyncDisposableStack },
): Promise<void> {
  const stopped = new AbortController();
  const stop = AbortSignal.any([signal, stopped.signal]);
  const following = control.attach(connectAgent(socket), stop);
  stack.defer(async () => {
    stopped.abort();
    await following;
    await control.stop();
  });
  await orStopped(control.firstAgent, signal);
  await control.start(stop);
}

/** A stop while we start ends the start: what would be waited for may never come. */
async function orStopped<T>(wanted: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const stopped = Promise.withResolvers<never>();
  const stop = () => stopped.reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([wanted, stopped.promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function mustAnswer(ping: () => Promise<boolean>): Promise<void> {
  if (!(await ping())) throw new HawserError('unavailable', 'The database does not answer.');
}
