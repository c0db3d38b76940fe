import { randomUUID } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import type { HostFacts } from '../contract/join.ts';
import { LINK_VERSION, MIN_LINK_VERSION } from '../contract/link.ts';
import type { HawserError } from '../core/errors.ts';
import { renewKeys } from '../doors/_http/secure-server.ts';
import { createTlsLinkDoor } from '../doors/agent/link-door.ts';
import { type DataFolder, openDataFolder } from '../host/data-folder.ts';
import { ownNames, readTlsKeys } from '../host/tls.ts';
import { newServer } from './api-listener.ts';
import type { RoleOptions, Running } from './control.ts';
import { type HostRole, startHost } from './host-role.ts';
import { listen, type TlsChoice, urlOf, wantsTls } from './listeners.ts';
import { Member } from './member.ts';
import { reachedAt } from './reach.ts';
import { running } from './running.ts';
import { uploadServerTls } from './upload-server-means.ts';
import { VERSION } from './version.ts';

export interface AgentOptions extends RoleOptions {
  /** What `POST /join-tokens` gave; needed once. */
  readonly secret: string | undefined;
  /** Another version than that of this program, for tests of agents that are too old or too new. */
  readonly link?: { readonly version: number; readonly min: number; readonly program: string } | undefined;
}

/** A storage host's agent: Stores, journal, tickets and the data listener, commanded by the control that it joined: `hawser agent`. */
export async function agent(config: Config, options: AgentOptions): Promise<Running> {
  return running(async (stack) => ({ addresses: await start(config, options, stack) }));
}

/** What this agent says of itself; addresses are known once it listens. */
interface Self {
  readonly facts: () => HostFacts;
  /** What its certificate shall be good for. */
  readonly names: () => readonly string[];
  readonly link: NonNullable<AgentOptions['link']>;
  bootId: string;
  agentUrls: readonly string[];
  dataUrls: readonly string[];
  dataCa: string | null;
}

interface Parts {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly log: RoleOptions['log'];
  readonly stack: AsyncDisposableStack;
  readonly self: Self;
  readonly member: Member;
}

async function start(
  config: Config,
  options: AgentOptions,
  stack: AsyncDisposableStack,
): Promise<Readonly<Record<string, string>>> {
  const { log, signal } = options;
  const folder = stack.use(await openDataFolder(config.dataDir));
  const ending = new AbortController();
  stack.defer(() => ending.abort());
  const self = await describeSelf(config, folder, options.link);
  const secret = options.secret;
  const stop = AbortSignal.any([signal, ending.signal]);
  const member = await Member.open({ at: folder.at, secret, facts: self.facts, names: self.names, log, signal: stop });
  const parts: Parts = { config, folder, log, stack, self, member };
  const data = await startData(parts);
  const door = await startLink(parts, data.host);
  signal.throwIfAborted();
  const before = () => {
    const via = member.ownAddress;
    self.agentUrls = reachedAt(door.app, { scheme: 'https', url: config.agentUrl, via });
    const scheme = data.tls.keys === undefined ? 'http' : 'https';
    self.dataUrls = reachedAt(data.server, { scheme, url: config.dataUrl, via });
  };
  const renewed = () => {
    door.renew({ ...member.keys, ca: member.authority });
    data.renew();
  };
  const beating = member.beat({ before, renewed, ended: door.fence });
  stack.defer(async () => {
    ending.abort();
    await beating;
  });
  const addresses = {
    agent: urlOf(door.app, { keys: member.keys }),
    data: urlOf(data.server, data.tls),
    agentUnix: `unix:${data.host.socket}`,
    ...(data.host.grpcAddress === undefined ? {} : { longhornGrpc: data.host.grpcAddress }),
    ...data.host.imageio,
  };
  await folder.announce(addresses);
  log.info({ event: 'agent.ready', ...addresses, hostId: self.facts().hostId });
  return addresses;
}

async function describeSelf(config: Config, folder: DataFolder, link: AgentOptions['link']): Promise<Self> {
  const { hostId, name } = await folder.identity([], randomUUID, config.host.name);
  const configured = [config.agentUrl, config.dataUrl].filter((url) => url !== '').map(hostOf);
  const self: Self = {
    link: link ?? { version: LINK_VERSION, min: MIN_LINK_VERSION, program: VERSION },
    bootId: '',
    agentUrls: [],
    dataUrls: [],
    dataCa: null,
    names: () => [...new Set([...configured, ...ownNames()])].slice(0, 64),
    facts: () => ({
      hostId,
      name,
      bootId: self.bootId,
      version: self.link.program,
      linkVersion: self.link.version,
      minLinkVersion: self.link.min,
      dataUrls: [...self.dataUrls],
      dataCa: self.dataCa,
      agentUrl: self.agentUrls[0] ?? null,
      tags: config.host.tags,
    }),
  };
  return self;
}

/** Stores and the data listener. Its certificate is the configured one, else of control's authority. */
async function startData({ config, folder, log, stack, self, member }: Parts) {
  const own = config.tls.cert === '' && config.tls.key === '';
  const keys = !wantsTls(config, config.dataListen)
    ? undefined
    : own
      ? member.keys
      : await readTlsKeys(config.tls.cert, config.tls.key);
  const tls: TlsChoice = { keys };
  const ofAuthority = keys !== undefined && own;
  if (ofAuthority) self.dataCa = member.authority;
  const server = newServer(config, log, tls);
  const membership = () => ({ ...self.facts(), generation: member.generation });
  const dataUrls = () => self.dataUrls;
  const version = self.link.program;
  const tlsOfServers = () =>
    uploadServerTls(config, { ...member.keys, authority: member.authority }, (peer) => member.knows(peer));
  const host = stack.use(
    await startHost({
      config,
      folder,
      version,
      log,
      dataServer: server,
      dataUrls,
      membership,
      uploadServerTls: tlsOfServers,
    }),
  );
  self.bootId = host.bootId;
  stack.defer(() => server.close());
  await listen(server, 'dataListen', config.dataListen);
  // First of all when stopping: bodies end with an answer.
  stack.defer(() => host.quiet());
  const renew = () => {
    host.renewed();
    if (ofAuthority) renewKeys(server.server, member.keys);
  };
  return { server, host, tls, renew };
}

/** The link for control in another process. */
async function startLink({ config, stack, self, member }: Parts, host: HostRole) {
  let fenced: HawserError | undefined;
  const door = createTlsLinkDoor(host.agent, { ...member.keys, ca: member.authority }, () => ({
    generation: member.generation,
    minLinkVersion: self.link.min,
    fenced,
  }));
  stack.defer(() => door.app.close());
  await listen(door.app, 'agentListen', config.agentListen);
  return {
    ...door,
    fence: async (reason: HawserError) => {
      fenced = reason;
      await host.agent.fence(reason);
    },
  };
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, '');
}
