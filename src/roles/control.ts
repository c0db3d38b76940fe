import { randomBytes } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import type { HttpLog } from '../doors/_http/server.ts';
import { openDataFolder } from '../host/data-folder.ts';
import { apiListener } from './api-listener.ts';
import { openControl } from './control-part.ts';
import { listen, tlsFor, urlOf } from './listeners.ts';
import { running, type Stoppable } from './running.ts';

export interface RoleOptions {
  readonly log: HttpLog;
  /** Fires to stop. */
  readonly signal: AbortSignal;
}

/** Stopping it keeps what was received. */
export interface Running extends Stoppable {
  /** As in `run/addresses.json`. */
  readonly addresses: Readonly<Record<string, string>>;
}

export interface RunningControl extends Running {
  readonly adminTokenPath: string;
  /** Whether the page was built. */
  readonly page: boolean;
}

/** API, page, database and scheduling: `hawser control`. It opens no Store; agents join it. */
export async function control(config: Config, options: RoleOptions): Promise<RunningControl> {
  return running((stack) => start(config, options, stack));
}

async function start(
  config: Config,
  { log, signal }: RoleOptions,
  stack: AsyncDisposableStack,
): Promise<Omit<RunningControl, 'stop'>> {
  const folder = stack.use(await openDataFolder(config.dataDir));
  const tls = await tlsFor({ ...config, dataListen: config.listen }, folder, new Date());
  const adminToken = await folder.adminToken(() => randomBytes(32).toString('base64url'));
  signal.throwIfAborted();
  const part = await openControl({ config, folder, log, stack, adminToken, agentListener: 'must' });
  signal.throwIfAborted();
  const { control, database, agentListener, controlKeys } = part;
  const { server, page } = await apiListener({
    config,
    log,
    tls: tls.main,
    control,
    database,
    controlKeys,
    host: undefined,
  });
  stack.defer(() => server.close());
  const stopped = new AbortController();
  stack.defer(async () => {
    stopped.abort();
    await control.stop();
  });
  await control.start(AbortSignal.any([signal, stopped.signal]));
  signal.throwIfAborted();
  await listen(server, 'listen', config.listen);
  const addresses = {
    api: urlOf(server, tls.main),
    ...(agentListener === undefined ? {} : { join: agentListener }),
  };
  await folder.announce(addresses);
  log.info({ event: 'control.ready', ...addresses });
  return { addresses, adminTokenPath: folder.at('run', 'admin-token'), page };
}
