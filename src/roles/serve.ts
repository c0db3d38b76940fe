import { randomBytes } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import { openDataFolder } from '../host/data-folder.ts';
import { connectAgent } from '../links/agent-link.ts';
import type { Control } from '../service/control/control.ts';
import { apiListener, newServer } from './api-listener.ts';
import type { RoleOptions, RunningControl } from './control.ts';
import { openControl } from './control-part.ts';
import { startHost } from './host-role.ts';
import { listen, tlsFor, urlOf } from './listeners.ts';
import { reachedAt } from './reach.ts';
import { running } from './running.ts';
import { uploadServerTls } from './upload-server-means.ts';
import { VERSION } from './version.ts';

export interface ServeOptions extends RoleOptions {
  /** `must`: the agent listener was asked for, so a taken address is an error. */
  readonly agentListener: 'must' | 'try';
}

export interface Serving extends RunningControl {
  readonly adminToken: string;
}

/** Everything in one process on one machine: `hawser serve`. Resolves once requests are answered. */
export async function serve(config: Config, options: ServeOptions): Promise<Serving> {
  return running((stack) => start(config, options, stack));
}

/** Started in this order, stopped in the reverse one. */
async function start(
  config: Config,
  { log, signal, agentListener }: ServeOptions,
  stack: AsyncDisposableStack,
): Promise<Omit<Serving, 'stop'>> {
  const folder = stack.use(await openDataFolder(config.dataDir));
  const tls = await tlsFor(config, folder, new Date());
  const adminToken = await folder.adminToken(() => randomBytes(32).toString('base64url'));
  signal.throwIfAborted();
  const part = await openControl({ config, folder, log, stack, adminToken, agentListener });
  const { control, database, controlKeys } = part;
  const agentKeys = await part.ownAgentKeys();
  signal.throwIfAborted();

  const dataServer = newServer(config, log, tls.data);
  const dataUrls: string[] = [];
  const host = stack.use(
    await startHost({
      config,
      folder,
      version: VERSION,
      log,
      dataServer,
      dataUrls: () => dataUrls,
      membership: () => ({ dataCa: tls.data.ca ?? null, tags: config.host.tags }),
      uploadServerTls: () => uploadServerTls(config, agentKeys.current(), part.knowsAgent),
    }),
  );
  agentKeys.onRenewal(host.renewed);
  stack.defer(() => dataServer.close());
  await listen(dataServer, 'dataListen', config.dataListen);
  const scheme = tls.data.keys === undefined ? 'http' : 'https';
  dataUrls.push(...reachedAt(dataServer, { scheme, url: config.dataUrl }));

  const { plane } = host.agent;
  const api = await apiListener({
    config,
    log,
    tls: tls.main,
    control,
    database,
    controlKeys,
    host: { plane, counts: host.counts },
  });
  stack.defer(() => api.server.close());
  // First of all when stopping: bodies end with an answer, then the listeners close without waiting for them.
  stack.defer(() => host.quiet());

  await startReports(control, host.socket, { signal, stack });
  signal.throwIfAborted();
  await listen(api.server, 'listen', config.listen);
  const addresses = {
    api: urlOf(api.server, tls.main),
    data: urlOf(dataServer, tls.data),
    agent: `unix:${host.socket}`,
    ...(host.grpcAddress === undefined ? {} : { longhornGrpc: host.grpcAddress }),
    ...(part.agentListener === undefined ? {} : { join: part.agentListener }),
    ...host.imageio,
  };
  await folder.announce(addresses);
  log.info({ event: 'serve.ready', ...addresses });
  return { addresses, adminToken, adminTokenPath: folder.at('run', 'admin-token'), page: api.page };
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
