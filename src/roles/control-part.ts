import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import type { Config } from '../config/schema.ts';
import { JOIN_PREFIX } from '../contract/join.ts';
import { HawserError } from '../core/errors.ts';
import { type OpenDatabase, openDatabase } from '../db/open.ts';
import type { HttpLog, HttpServer } from '../doors/_http/server.ts';
import { createJoinDoor } from '../doors/agent/join-door.ts';
import { type Authority, issueKeys, openAuthority } from '../host/authority.ts';
import type { DataFolder } from '../host/data-folder.ts';
import { isDue } from '../host/membership.ts';
import { startPostgres } from '../host/postgres.ts';
import { ownNames, type TlsKeys } from '../host/tls.ts';
import { connectRemoteAgent } from '../links/agent-link.ts';
import { addressGuard } from '../links/url/address-guard.ts';
import { urlRefusal } from '../links/url/url-refusal.ts';
import { ensureAdminToken } from '../service/control/accounts.ts';
import { type Control, createControl } from '../service/control/control.ts';
import type { Joining } from '../service/control/joining.ts';
import type { CertificateHolder } from '../tls/host-check.ts';
import { listen, urlOf } from './listeners.ts';
import { reachedAt } from './reach.ts';

export interface ControlPartOptions {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly log: HttpLog;
  readonly stack: AsyncDisposableStack;
  readonly adminToken: string;
  /** `try`: goes on without an agent listener when its address is taken. */
  readonly agentListener: 'must' | 'try';
}

export interface ControlPart {
  readonly control: Control;
  readonly database: OpenDatabase;
  /** Where its agent listener listens; undefined: no agent can join here. */
  readonly agentListener: string | undefined;
  /** What it shows agents, and verifies theirs with. */
  readonly controlKeys: () => ControlKeys;
  /** Whether the certificate of an agent still counts. */
  readonly knowsAgent: (agent: CertificateHolder) => Promise<boolean>;
  /** A certificate for the agent of this very process, renewed as long as it runs. */
  readonly ownAgentKeys: () => Promise<OwnKeys<AgentKeys>>;
}

/** PEM. */
export interface ControlKeys extends TlsKeys {
  readonly ca: string;
}
export interface AgentKeys extends TlsKeys {
  readonly authority: string;
}

/** Control without its API: database, authority, agent listener, and the links to agents of other processes. Not started yet. */
export async function openControl(options: ControlPartOptions): Promise<ControlPart> {
  const { config, folder, log, stack } = options;
  const database = await openOwnDatabase(options);
  await ensureAdminToken(database.db, options.adminToken, await placeOf(folder));
  const authority = await authorityOf(database);
  const keys = await ownKeys(authority, config, stack);
  const agentUrls: string[] = [];
  const guard = addressGuard({ allow: config.downloads.allow, own: () => [] });
  const control = createControl({
    db: database.db,
    waker: database.waker,
    bus: config.databaseUrl === '' ? undefined : database.bus,
    config: { uploads: config.uploads, copies: config.copies, limits: config.limits },
    randomId: randomUUID,
    urlRefusal: (url) => urlRefusal(url, guard),
    now: () => new Date(),
    log,
    dial: (address, trouble) =>
      connectRemoteAgent({ ...address, ca: authority.certificate, keys: keys.current, trouble }),
    joining: joiningWith(authority, () => agentUrls),
  });
  const door = await listenForAgents(options, { control, authority, keys });
  if (door !== undefined) agentUrls.push(...reachedAt(door, { scheme: 'https', url: config.agentUrl }));
  return {
    control,
    database,
    agentListener: door && urlOf(door, { keys: keys.current() }),
    controlKeys: () => ({ ...keys.current(), ca: authority.certificate }),
    knowsAgent: async ({ name, keyHash }) => (await control.agentDoor?.knows({ id: name, keyHash })) ?? false,
    ownAgentKeys: async () => {
      const holder = { kind: 'agent', id: await placeOf(folder) } as const;
      const own = await renewedKeys(() => issueKeys(authority, holder, ownNames()), stack);
      return { ...own, current: () => ({ ...own.current(), authority: authority.certificate }) };
    },
  };
}

async function openOwnDatabase({ config, folder, log, stack }: ControlPartOptions): Promise<OpenDatabase> {
  const postgres =
    config.databaseUrl === ''
      ? await startPostgres({ dataDir: folder.path, log: (fields) => log.info(fields) })
      : undefined;
  if (postgres !== undefined) stack.defer(() => postgres.stop());
  return stack.use(
    await openDatabase(postgres?.connection ?? { url: config.databaseUrl }, {
      onError: (error) => log.warn({ event: 'database.connection-lost', error: error.message }),
    }),
  );
}

/** The name of this data folder among those of the controls on one database. */
async function placeOf(folder: DataFolder): Promise<string> {
  return (await folder.identity([], randomUUID)).hostId;
}

const AUTHORITY = 'agent-authority';

function authorityOf({ db }: OpenDatabase): Promise<Authority> {
  return openAuthority(
    async (make) => (await db.accounts.setting(AUTHORITY)) ?? (await db.accounts.keepSetting(AUTHORITY, await make())),
    () => new Date(),
  );
}

export interface OwnKeys<Keys extends TlsKeys = TlsKeys> {
  readonly current: () => Keys;
  /** Is told of new ones, long before the old ones end. */
  onRenewal(renewed: (keys: TlsKeys) => void): void;
}

const LOOK_MS = 3600 * 1000;

/** Control's certificate, made anew for each process. */
function ownKeys(authority: Authority, config: Config, stack: AsyncDisposableStack): Promise<OwnKeys> {
  const holder = { kind: 'control', id: randomUUID() } as const;
  const names = config.agentUrl === '' ? [] : [hostOf(config.agentUrl)];
  return renewedKeys(() => issueKeys(authority, holder, [...new Set([...names, ...ownNames()])]), stack);
}

async function renewedKeys(make: () => Promise<TlsKeys>, stack: AsyncDisposableStack): Promise<OwnKeys> {
  const listeners: ((keys: TlsKeys) => void)[] = [];
  let keys = await make();
  const look = async () => {
    if (!isDue(keys.cert, new Date())) return;
    keys = await make();
    for (const listener of listeners) listener(keys);
  };
  const timer = setInterval(() => void look(), LOOK_MS).unref();
  stack.defer(() => clearInterval(timer));
  return { current: () => keys, onRenewal: (renewed) => void listeners.push(renewed) };
}

function joiningWith(authority: Authority, urls: () => readonly string[]): Joining {
  return {
    issue: (hostId, { csr, names }) => {
      const strange = names.find((name) => isIP(name) === 0 && !/^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$/.test(name));
      if (strange !== undefined) {
        throw new HawserError('bad-request', `"${strange.slice(0, 100)}" is neither a host name nor an address.`);
      }
      return authority.issue({ kind: 'agent', id: hostId }, csr, names);
    },
    keyHash: (csr) => authority.keyHash(csr),
    urls,
    secretOf: (token, all) =>
      JOIN_PREFIX +
      Buffer.from(JSON.stringify({ urls: all, authority: authority.fingerprint, token })).toString('base64url'),
  };
}

/** The agent listener, unless it may be without. */
async function listenForAgents(
  { config, log, stack, agentListener }: ControlPartOptions,
  { control, authority, keys }: { readonly control: Control; readonly authority: Authority; readonly keys: OwnKeys },
): Promise<HttpServer | undefined> {
  if (control.agentDoor === undefined) return undefined;
  const tls = ({ key, cert }: TlsKeys) => ({ key, cert, ca: authority.certificate });
  const door = createJoinDoor(control.agentDoor, tls(keys.current()));
  try {
    await listen(door.app, 'agentListen', config.agentListen);
  } catch (error) {
    await door.app.close();
    if (agentListener === 'must' || !(error instanceof HawserError)) throw error;
    log.warn({ event: 'agent-listener.none', reason: `No other host can join: ${error.message}` });
    return undefined;
  }
  keys.onRenewal((renewed) => door.renew(tls(renewed)));
  stack.defer(() => door.app.close());
  return door.app;
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, '');
}
