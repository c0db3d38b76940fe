import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { HostResource } from '../../src/contract/api/host.ts';
import { joinSecret } from '../../src/contract/join.ts';
import { makeDataFolder } from '../data-folder.ts';
import { type CutProxy, startCutProxy } from './cut-proxy.ts';
import { type ProcessPlace, type RealProcess, startProcess } from './real-process.ts';

/** Controls and agents as real processes on loopback, each with a data folder and ports of its own. */
export interface Cluster extends AsyncDisposable {
  /** Goes with the cluster; tests put their files here. */
  readonly folder: string;
  readonly controls: readonly ClusterControl[];
  readonly agents: readonly ClusterAgent[];
  /** The first control. */
  readonly control: ClusterControl;
  /** The agent of this number. */
  agent(index: number): ClusterAgent;
  addAgent(options?: AgentSettings): Promise<ClusterAgent>;
  addControl(env?: Readonly<Record<string, string>>): Promise<ClusterControl>;
  /** Resolves when the host of every agent is online at every control. */
  online(): Promise<void>;
}

export interface ClusterControl extends RealProcess {
  readonly api: string;
  /** The admin token. */
  readonly token: string;
  /** fetch below /api/v1 with the admin token. */
  ask(path: string, init?: RequestInit): Promise<Response>;
  json<T>(path: string, init?: RequestInit): Promise<T>;
  /** A join token's secret. */
  joinSecret(expiresInSeconds?: number): Promise<string>;
  host(name: string): Promise<HostResource | undefined>;
  /** Waits until it is so for this host. */
  hostIs(name: string, isSo: (host: HostResource) => boolean): Promise<HostResource>;
}

export interface ClusterAgent extends RealProcess {
  /** The name of its host. */
  readonly name: string;
  /** Nothing goes between it and the controls (nor, with `data`, to its data listener), and nobody is told. Needs `cuttable`. */
  partition(options?: { readonly data?: boolean }): void;
  heal(): void;
}

export interface ClusterSettings {
  /** How many (1). More than one need `databaseUrl`. */
  readonly controls?: number;
  readonly agents?: number;
  readonly databaseUrl?: string;
  /** `serve`: controls with an agent of their own, on a data listener of its own. */
  readonly role?: 'control' | 'serve';
  /** Agents are reached, and reach control, through relays that `partition` can cut. */
  readonly cuttable?: boolean;
  /** strace writes the names of all files that a process opens to `DATADIR.trace`. */
  readonly traced?: boolean;
  /** For every control, and every agent. */
  readonly controlEnv?: Readonly<Record<string, string>>;
  readonly agentEnv?: Readonly<Record<string, string>>;
  /** Where controls run. */
  readonly controlPlace?: ProcessPlace;
}

export interface AgentSettings {
  readonly name?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly place?: ProcessPlace;
  /** One that has joined already, for example a copy; without it a new one is made and joins. */
  readonly dataDir?: string;
  /** Not through `hawser agent` but by this script. */
  readonly script?: { readonly script: string; readonly args?: readonly string[] };
}

export async function startCluster(settings: ClusterSettings = {}): Promise<Cluster> {
  const undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hawser-cluster-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const controls: ClusterControl[] = [];
  const agents: ClusterAgent[] = [];
  const first = () => {
    const [control] = controls;
    if (control === undefined) throw new Error('the cluster has no control');
    return control;
  };
  const cluster: Omit<Cluster, typeof Symbol.asyncDispose> = {
    folder,
    controls,
    agents,
    get control() {
      return first();
    },
    agent: (index) => {
      const agent = agents[index];
      if (agent === undefined) throw new Error(`the cluster has no agent ${index}`);
      return agent;
    },
    addControl: async (env = {}) => {
      const path = join(folder, `control${controls.length}`);
      // A benchmark has none that was made before.
      const makes = settings.databaseUrl !== undefined || process.env.VITEST === undefined;
      const dataDir = makes ? await newFolder(path) : await makeDataFolder(path);
      const control = undo.use(await startControl(settings, dataDir, env));
      controls.push(control);
      return control;
    },
    addAgent: async (options = {}) => {
      const name = options.name ?? `host${agents.length}`;
      const dataDir = options.dataDir ?? (await newFolder(join(folder, name)));
      const secret = options.dataDir === undefined ? await first().joinSecret() : undefined;
      const agent = undo.use(await startAgent(settings, first(), { ...options, name, dataDir, secret }));
      agents.push(agent);
      return agent;
    },
    online: async () => {
      for (const control of controls) {
        for (const { name } of agents) await control.hostIs(name, ({ state }) => state === 'online');
      }
    },
  };
  const running = extended(cluster, { [Symbol.asyncDispose]: () => undo.disposeAsync() });
  try {
    for (let index = 0; index < (settings.controls ?? 1); index++) await cluster.addControl();
    for (let index = 0; index < (settings.agents ?? 0); index++) await cluster.addAgent();
    await cluster.online();
    return running;
  } catch (error) {
    await undo.disposeAsync();
    throw error;
  }
}

async function newFolder(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  return path;
}

async function startControl(
  { databaseUrl, role = 'control', cuttable, traced, controlEnv, controlPlace }: ClusterSettings,
  dataDir: string,
  env: Readonly<Record<string, string>>,
): Promise<ClusterControl> {
  const running = await startProcess({
    dataDir,
    command: [role],
    traced: traced ?? false,
    ...(controlPlace === undefined ? {} : { place: controlPlace }),
    env: {
      ...(databaseUrl === undefined ? {} : { HAWSER_DATABASE_URL: databaseUrl }),
      // Agents must not learn of a way around what `partition` cuts.
      ...(cuttable === true ? { HAWSER_AGENT_URL: 'https://127.0.0.1:1' } : {}),
      ...controlEnv,
      ...env,
    },
    ports: {
      api: 'HAWSER_LISTEN',
      join: 'HAWSER_AGENT_LISTEN',
      ...(role === 'serve' ? { data: 'HAWSER_DATA_LISTEN' } : {}),
    },
  });
  const token = (await readFile(join(dataDir, 'run', 'admin-token'), 'utf8')).trim();
  const ca = await readFile(join(dataDir, 'keys', 'server.crt'), 'utf8').catch(() => '');
  const ask = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${token}`);
    if (init.body !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json');
    const url = `${running.addresses.api}/api/v1${path}`;
    return url.startsWith('https:') ? fetchTls(url, { ...init, headers }, ca) : fetch(url, { ...init, headers });
  };
  const json = async <T>(path: string, init?: RequestInit): Promise<T> => {
    const answer = await ask(path, init);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return JSON.parse(text) as T;
  };
  const host = async (name: string) => {
    const { items } = await json<{ items: HostResource[] }>('/hosts');
    return items.find((one) => one.name === name);
  };
  return extended(running, {
    get api() {
      return running.addresses.api ?? '';
    },
    token,
    ask,
    json,
    host,
    joinSecret: async (expiresInSeconds = 3600) => {
      const body = JSON.stringify({ name: 'test', expiresInSeconds });
      return (await json<{ secret: string }>('/join-tokens', { method: 'POST', body })).secret;
    },
    hostIs: async (name: string, isSo: (one: HostResource) => boolean) => {
      for (;;) {
        const found = await host(name);
        if (found !== undefined && isSo(found)) return found;
        await delay(50);
      }
    },
  });
}

interface NamedAgent extends AgentSettings {
  readonly name: string;
  readonly dataDir: string;
  readonly secret: string | undefined;
}

async function startAgent(
  { cuttable, traced, agentEnv }: ClusterSettings,
  control: ClusterControl,
  { name, dataDir, env, script, secret, place }: NamedAgent,
): Promise<ClusterAgent> {
  await using undo = new AsyncDisposableStack();
  const proxies: CutProxy[] = [];
  const proxied = async (file: string, key: string) => {
    const proxy = undo.use(await startCutProxy(() => addressIn(file, key)));
    proxies.push(proxy);
    return `127.0.0.1:${proxy.port}`;
  };
  const ways: Record<string, string> = {};
  if (cuttable === true) {
    if (secret !== undefined) {
      ways.HAWSER_JOIN = rewritten(secret, `https://${await proxied(control.dataDir, 'join')}`);
    }
    ways.HAWSER_AGENT_URL = `https://${await proxied(dataDir, 'agent')}`;
    ways.HAWSER_DATA_URL = `http://${await proxied(dataDir, 'data')}`;
  } else if (secret !== undefined) ways.HAWSER_JOIN = secret;
  const running = undo.use(
    await startProcess({
      dataDir,
      command: script ?? ['agent'],
      traced: traced ?? false,
      ...(place === undefined ? {} : { place }),
      env: { ...ways, HAWSER_HOST_NAME: name, ...agentEnv, ...env },
      ports: { agent: 'HAWSER_AGENT_LISTEN', data: 'HAWSER_DATA_LISTEN' },
    }),
  );
  const cleanup = undo.move();
  return extended(running, {
    name,
    partition: ({ data = false }: { readonly data?: boolean } = {}) => {
      if (proxies.length === 0) throw new Error('the cluster was not started with `cuttable`');
      for (const proxy of data ? proxies : proxies.slice(0, 2)) proxy.cut();
    },
    heal: () => {
      for (const proxy of proxies) proxy.heal();
    },
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  });
}

/** `fetch` cannot be told whom to trust. */
async function fetchTls(url: string, init: RequestInit & { readonly headers: Headers }, ca: string): Promise<Response> {
  const headers = Object.fromEntries(init.headers);
  const request = httpsRequest(url, { method: init.method ?? 'GET', headers, ca });
  request.end(init.body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const body = await buffer(response);
  const status = response.statusCode ?? 0;
  return new Response(status === 204 ? null : body, { status, headers: response.headers as Record<string, string> });
}

/** The object with more on top; getters of both stay getters. */
function extended<A extends object, B extends object>(base: A, more: B): A & B {
  return Object.defineProperties(Object.create(null), {
    ...Object.getOwnPropertyDescriptors(base),
    ...Object.getOwnPropertyDescriptors(more),
  }) as A & B;
}

function rewritten(secret: string, url: string): string {
  const read = joinSecret.parse(JSON.parse(Buffer.from(secret.slice(4), 'base64url').toString()));
  return `hj1.${Buffer.from(JSON.stringify({ ...read, urls: [url] })).toString('base64url')}`;
}

async function addressIn(dataDir: string, key: string): Promise<{ readonly host: string; readonly port: number }> {
  const addresses = JSON.parse(await readFile(join(dataDir, 'run', 'addresses.json'), 'utf8')) as Record<
    string,
    string
  >;
  const { hostname, port } = new URL(addresses[key] ?? 'http://127.0.0.1:1');
  return { host: hostname, port: Number(port) };
}
