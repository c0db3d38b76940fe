import { isDeepStrictEqual } from 'node:util';
import type { AgentCommand, AgentEvent, AgentLink, AgentRequest } from '../../contract/link.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { Host } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { versionTrouble } from './joining.ts';

/** Where an agent is reached. */
export interface AgentAddress {
  readonly hostId: string;
  /** As in its HostIdentity. */
  readonly keyHash: string | null;
  readonly url: string;
  readonly generation: number;
}

/**
 * Speaks to an agent of another process. `trouble` is called whenever it cannot be reached (or refuses us),
 * and with undefined when it can again.
 */
export type Dial = (address: AgentAddress, trouble: (problem: HawserError | undefined) => void) => AgentLink;

interface Followed {
  readonly address: AgentAddress;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

const POLL_MS = 3_000;

/**
 * Follows every agent of the table of hosts that is reached over the network. New hosts, new addresses and
 * removals are noticed at once when this control (or, over the bus, another one) did them, else within a
 * few seconds.
 */
export class Followers {
  readonly #context: Context;
  readonly #dial: Dial;
  readonly #follow: (link: AgentLink, signal: AbortSignal) => Promise<void>;
  readonly #followed = new Map<string, Followed>();
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  /** A look that has not begun yet: many changes at once are seen by one. */
  #due = false;
  #stopped = false;

  constructor(context: Context, dial: Dial, follow: (link: AgentLink, signal: AbortSignal) => Promise<void>) {
    this.#context = context;
    this.#dial = dial;
    this.#follow = follow;
  }

  /** Looks at the table now, and again and again. */
  refresh(): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), POLL_MS);
    if (this.#due) return;
    this.#due = true;
    this.#round = this.#round.then(() => this.#look());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#round;
    await Promise.all([...this.#followed.keys()].map((hostId) => this.#end(hostId)));
  }

  async #look(): Promise<void> {
    this.#due = false;
    try {
      const wanted = new Map((await this.#context.db.hosts.list()).flatMap((host) => reachable(host)));
      for (const [hostId, { address }] of this.#followed) {
        const now = wanted.get(hostId);
        if (now === undefined || !isDeepStrictEqual(now, address)) await this.#end(hostId);
      }
      if (this.#stopped) return;
      for (const address of wanted.values()) if (!this.#followed.has(address.hostId)) this.#begin(address);
    } catch (error) {
      // The database is away; the next round makes up for it.
      this.#context.log.warn({ event: 'hosts.unread', error: toHawserError(error).message });
    }
  }

  #begin(address: AgentAddress): void {
    const { agents, log } = this.#context;
    if (agents.isLocal(address.hostId)) return;
    const { hostId, url } = address;
    const stop = new AbortController();
    const guard = this.#guard(address);
    if (guard === undefined) return;
    agents.setRemote(hostId);
    log.info({ event: 'host.followed', hostId, url });
    const ended = this.#follow(guard, stop.signal).catch((error: unknown) => {
      log.error({ event: 'host.unfollowed', hostId, error: toHawserError(error).message });
    });
    this.#followed.set(hostId, { address, stop, ended });
  }

  /** Undefined when it cannot be dialled at all: what one agent says of itself keeps nobody from the others. */
  #guard(address: AgentAddress): GuardedLink | undefined {
    try {
      return new GuardedLink(this.#context, address, this.#dial);
    } catch (error) {
      const { hostId, url } = address;
      this.#context.log.warn({ event: 'host.undialled', hostId, url, reason: toHawserError(error).message });
      return undefined;
    }
  }

  async #end(hostId: string): Promise<void> {
    const followed = this.#followed.get(hostId);
    if (followed === undefined) return;
    this.#followed.delete(hostId);
    followed.stop.abort();
    await followed.ended;
    this.#context.agents.delete(hostId);
  }
}

function reachable({ id, agentUrl, generation, keyHash, state }: Host): [string, AgentAddress][] {
  if (agentUrl === null || state === 'outdated' || state === 'removed') return [];
  return [[id, { hostId: id, keyHash, url: agentUrl, generation }]];
}

/**
 * The link to one agent that lets nothing through which is not from this host, this generation and a version
 * that we understand; and that lets no command wait for a host that is away.
 */
class GuardedLink implements AgentLink {
  readonly #context: Context;
  readonly #address: AgentAddress;
  readonly #link: AgentLink;
  #trouble: HawserError | undefined;
  #epoch = new AbortController();

  constructor(context: Context, address: AgentAddress, dial: Dial) {
    this.#context = context;
    this.#address = address;
    this.#link = dial(address, (problem) => this.#turn(problem && unavailable(problem.message)));
  }

  async call<C extends AgentCommand>(command: C, request: AgentRequest<C>, signal?: AbortSignal) {
    if (this.#trouble !== undefined) throw this.#trouble;
    const { signal: epoch } = this.#epoch;
    return this.#link.call(command, request, signal === undefined ? epoch : AbortSignal.any([signal, epoch]));
  }

  async *events(signal: AbortSignal): AsyncGenerator<AgentEvent> {
    for await (const event of this.#link.events(signal)) {
      if (event.kind === 'full' && !(await this.#admits(event))) return;
      yield event;
    }
  }

  async #admits({ host }: Extract<AgentEvent, { kind: 'full' }>): Promise<boolean> {
    const { db, changes } = this.#context;
    const { hostId, generation } = this.#address;
    if (host.hostId !== hostId) {
      this.#turn(unavailable(`At ${this.#address.url} another host answers (${host.name}).`));
      return false;
    }
    const outdated = versionTrouble(host);
    if (outdated !== null) {
      await db.hosts.setOutdated(hostId, outdated);
      changes.touch('host', hostId);
      this.#turn(unavailable(outdated));
      return false;
    }
    if (host.generation !== null && host.generation < generation) {
      this.#turn(unavailable(`The process that answers for the host ${host.name} has been replaced by another one.`));
      return false;
    }
    this.#turn(undefined);
    return true;
  }

  #turn(problem: HawserError | undefined): void {
    const { hostId, url } = this.#address;
    if (problem?.message === this.#trouble?.message) return;
    this.#trouble = problem;
    if (problem === undefined) {
      this.#epoch = new AbortController();
      this.#context.log.info({ event: 'host.reached', hostId, url });
      return;
    }
    this.#context.log.warn({ event: 'host.unreached', hostId, url, reason: problem.message });
    this.#epoch.abort(problem);
  }
}

function unavailable(message: string): HawserError {
  return new HawserError('unavailable', message);
}
