import { randomUUID } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import { HawserError } from '../core/errors.ts';
import type { OpenDatabase } from '../db/open.ts';
import { dataRoutes } from '../doors/_http/data-routes.ts';
import { createServer, type HttpLog, type HttpServer } from '../doors/_http/server.ts';
import { createApiApp } from '../doors/api/app.ts';
import { createMetrics, measureStores, type StoreCounts } from '../doors/api/metrics.ts';
import { webRoot } from '../host/web-root.ts';
import type { Control } from '../service/control/control.ts';
import type { DataPlane } from '../service/host/data-plane.ts';
import type { ControlKeys } from './control-part.ts';
import { isLoopback, type TlsChoice } from './listeners.ts';
import { mountLonghorn } from './longhorn-mount.ts';
import { VERSION } from './version.ts';

/** An agent in this very process: bytes land there without a hop. */
export interface OwnHost {
  readonly plane: DataPlane;
  readonly counts: readonly StoreCounts[];
}

export interface ApiListenerParts {
  readonly config: Config;
  readonly log: HttpLog;
  readonly tls: TlsChoice;
  readonly control: Control;
  readonly database: OpenDatabase;
  readonly host: OwnHost | undefined;
  readonly controlKeys: () => ControlKeys;
}

/** The main listener with page, API, health and metrics; not listening yet. `page`: whether the page was built. */
export async function apiListener(
  parts: ApiListenerParts,
): Promise<{ readonly server: HttpServer; readonly page: boolean }> {
  const { config, control, database, host } = parts;
  const server = newServer(parts.config, parts.log, parts.tls);
  const page = webRoot();
  const metrics = createMetrics();
  measureStores(metrics, host?.counts ?? []);
  await createApiApp({
    useCases: control,
    server,
    version: VERSION,
    chunkSize: config.uploads.chunkSize,
    registerDataRoutes: (app, policy) =>
      dataRoutes(app, {
        plane: host?.plane ?? nothingHere,
        policy,
        uploadPath: '/uploads/:id',
        copyPath: '/images/:id',
      }),
    elsewhere: control.elsewhere,
    ready: [{ name: 'database', check: () => mustAnswer(database.ping) }],
    webRoot: page,
    publicUrl: config.publicUrl === '' ? undefined : config.publicUrl,
    metrics,
    now: () => performance.now(),
  });
  const dataCa = host === undefined ? undefined : parts.tls.keys?.cert;
  await mountLonghorn(server, {
    config,
    control,
    nameLocks: parts.database.nameLocks,
    controlKeys: parts.controlKeys,
    dataCa,
  });
  return { server, page: page !== undefined };
}

export function newServer(config: Config, log: HttpLog, tls: TlsChoice): HttpServer {
  return createServer({
    log,
    tls: tls.keys,
    randomId: randomUUID,
    trustProxy: isLoopback(config.listen) ? 'loopback' : undefined,
  });
}

async function mustAnswer(ping: () => Promise<boolean>): Promise<void> {
  if (!(await ping())) throw new HawserError('unavailable', 'The database does not answer.');
}

/** Control alone has no bytes: everything is relayed before one of these is called. */
const nothingHere: DataPlane = {
  receive: () => Promise.reject(nowhere()),
  admit: () => {
    throw nowhere();
  },
  zeros: () => Promise.reject(nowhere()),
  discard: () => Promise.reject(nowhere()),
  ranges: () => Promise.reject(nowhere()),
  uploadLeaves: () => Promise.reject(nowhere()),
  openCopy: () => Promise.reject(nowhere()),
};

function nowhere(): HawserError {
  return new HawserError('internal', 'A request for bytes came to a control that has none, and was not relayed.');
}
