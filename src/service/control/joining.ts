import { createHash } from 'node:crypto';
import { LINK_VERSION, MIN_LINK_VERSION } from '../../contract/link.ts';
import { HawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import type { HostSeen } from './host-ports.ts';

/** What agents ask of control on its agent listener. Who may ask what is the door's matter. */
export interface AgentDoorUseCases {
  /**
   * Takes a new host in, with a token that an administrator made; one that is there already only with the key that it
   * joined with. Throws `forbidden`, `expired`, `unsupported`.
   */
  join(request: JoinRequest): Promise<{
    readonly generation: number;
    readonly certificate: string;
    readonly controls: readonly string[];
  }>;
  /** From the holder of the host's certificate. */
  heartbeat(request: Heartbeat): Promise<HeartbeatAnswer>;
  /** Whether there is such a host now, and this is its key. Who was taken out, or joined anew with another key, is not known. */
  knows(host: { readonly id: string; readonly keyHash: string }): Promise<boolean>;
}

/** The host as its agent describes it. */
export interface AgentHost extends HostSeen {
  readonly minLinkVersion: number;
}

/** A request for a certificate (PEM), and the names and addresses that it shall be good for. */
export interface Wish {
  readonly csr: string;
  readonly names: readonly string[];
}

export interface JoinRequest {
  readonly token: string;
  readonly wish: Wish;
  readonly host: AgentHost;
}

export interface Heartbeat {
  /** SHA-256 (hex) of the public key of the certificate that was shown. */
  readonly keyHash: string;
  readonly generation: number;
  /** The first one of its process. */
  readonly begins: boolean;
  readonly host: AgentHost;
  readonly wish: Wish | null;
}

export interface HeartbeatAnswer {
  readonly verdict: 'accepted' | 'fenced' | 'outdated' | 'removed';
  readonly reason: string;
  readonly generation: number;
  readonly certificate: string | null;
  readonly controls: readonly string[];
}

/** What joining needs of this machine: the authority, and where agents find this control. */
export interface Joining {
  /** The certificate of an agent, PEM, with the authority's after it. Throws `bad-request`. */
  issue(hostId: string, wish: Wish): Promise<string>;
  /** SHA-256 of the public key that a request is for. Throws `bad-request`. */
  keyHash(csr: string): Promise<string>;
  /** Agent listeners of this control; none: nobody can join here. */
  urls(): readonly string[];
  /** What a new agent is started with. */
  secretOf(token: string, urls: readonly string[]): string;
}

export function createAgentDoor(context: Context, joining: Joining): AgentDoorUseCases {
  return {
    join: (request) => join(context, joining, request),
    heartbeat: (request) => heartbeat(context, joining, request),
    knows: async ({ id, keyHash }) => {
      const host = await context.db.hosts.find(id);
      if (host === undefined || host.state === 'removed') return false;
      return host.keyHash === null || host.keyHash === keyHash;
    },
  };
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Why control and this agent cannot work together, and what to install; null when they can. */
export function versionTrouble(
  host: Pick<AgentHost, 'name' | 'version' | 'linkVersion' | 'minLinkVersion'>,
): string | null {
  if (host.linkVersion < MIN_LINK_VERSION) {
    return `The agent of ${host.name} (Hawser ${host.version}) is too old: it speaks link version ${host.linkVersion}, this control wants ${MIN_LINK_VERSION} or later. Install the version of this control on that host and start its agent again; its uploads go on then.`;
  }
  if (host.minLinkVersion > LINK_VERSION) {
    return `This control is too old for the agent of ${host.name} (Hawser ${host.version}): that wants link version ${host.minLinkVersion} or later, control speaks ${LINK_VERSION}. Install Hawser ${host.version} or later on control.`;
  }
  return null;
}

async function join(context: Context, joining: Joining, { token, wish, host }: JoinRequest) {
  const { db } = context;
  // Before anything else of the request is looked at: who has no token learns nothing, and costs one look at a table.
  const standing = await db.hosts.joinToken(hashToken(token));
  if (standing !== 'usable' && standing !== 'used-before') throw tokenRefusals[standing]();
  const outdated = versionTrouble(host);
  if (outdated !== null) throw new HawserError('unsupported', outdated);
  refuseLocal(context, host.hostId);
  const keyHash = await joining.keyHash(wish.csr);
  const certificate = await joining.issue(host.hostId, wish);
  const generation = await db.transaction(async (tx) => {
    const use = await tx.hosts.takeJoinToken(hashToken(token), { hostId: host.hostId, keyHash });
    if (use !== 'used') throw tokenRefusals[use]();
    const joined = await tx.hosts.join(host, keyHash);
    if (joined === undefined) throw anotherKey();
    return joined;
  });
  await db.audit.append({
    actor: 'agent',
    action: 'host.join',
    subject: host.hostId,
    detail: { name: host.name, generation },
  });
  context.log.info({ event: 'host.joined', hostId: host.hostId, name: host.name, generation });
  context.changes.touch('host', host.hostId);
  return { generation, certificate, controls: await db.hosts.controlUrls() };
}

const tokenRefusals = {
  unknown: () =>
    new HawserError(
      'forbidden',
      'This join token is not known here: it was removed, or it is of another control. Make a new one there.',
    ),
  expired: () => new HawserError('expired', 'This join token has expired. Make a new one.'),
  'used-before': () =>
    new HawserError(
      'forbidden',
      'This join token has been used by another agent. Make a new one for each host; look at the list of hosts if you did not use it yourself.',
    ),
} as const;

/** The id of a host is no secret: a token alone must not make anybody that host. */
function anotherKey(): HawserError {
  return new HawserError(
    'forbidden',
    'A host with this identity is there already, and it joined with another key. Put the file keys/agent.key of its data folder back; if that is lost, have an administrator take the host out and join then. The token was not used up.',
  );
}

async function heartbeat(context: Context, joining: Joining, beat: Heartbeat): Promise<HeartbeatAnswer> {
  const { db } = context;
  const { hostId } = beat.host;
  const controls = await db.hosts.controlUrls();
  const host = await db.hosts.find(hostId);
  const refused = { generation: beat.generation, certificate: null, controls };
  if (host === undefined || host.state === 'removed') return { ...refused, verdict: 'removed', reason: REMOVED };
  refuseLocal(context, hostId);
  if (host.keyHash !== null && host.keyHash !== beat.keyHash)
    return { ...refused, verdict: 'removed', reason: REPLACED };
  if (beat.wish !== null && (await joining.keyHash(beat.wish.csr)) !== beat.keyHash) throw strangeKey();
  if (!beat.begins && beat.generation < host.generation) {
    return { ...refused, verdict: 'fenced', reason: fencedReason(host.name) };
  }
  const generation = beat.begins
    ? await db.hosts.begin(hostId, { known: beat.generation, keyHash: beat.keyHash })
    : beat.generation;
  if (generation === undefined) return { ...refused, verdict: 'removed', reason: REMOVED };
  const certificate = beat.wish === null ? null : await joining.issue(hostId, beat.wish);
  const outdated = versionTrouble(beat.host);
  if (await db.hosts.heartbeat(beat.host, generation, outdated)) {
    context.log.info({ event: 'host.changed', hostId, generation, agentUrl: beat.host.agentUrl, outdated });
    context.changes.touch('host', hostId);
  }
  return {
    verdict: outdated === null ? 'accepted' : 'outdated',
    reason: outdated ?? '',
    generation,
    certificate,
    controls,
  };
}

const REMOVED =
  'This host was taken out by an administrator. Its bytes are kept; to use it again, join it with a new token.';

const REPLACED =
  'This host was taken out by an administrator, and joined again with another key; the certificate of the old one does not count any more. Bytes that are here are kept. If this is the right one, have an administrator take the host out once more, and join it with a new token.';

function strangeKey(): HawserError {
  return new HawserError(
    'forbidden',
    'A certificate is renewed for the key of this host only, and another one was sent. Put the file keys/agent.key of its data folder back, or have an administrator take the host out and join it again.',
  );
}

function fencedReason(name: string): string {
  return `Another process has taken over the host ${name} (it was started with the same identity, for example from a copy of this data folder). Stop one of the two for good; the one that is started last counts.`;
}

function refuseLocal({ agents }: Context, hostId: string): void {
  if (!agents.isLocal(hostId)) return;
  throw new HawserError(
    'conflict',
    'The host with this identity runs in the process of control itself. Do not copy its data folder; let the new host make one of its own.',
  );
}
