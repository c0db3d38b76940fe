import { randomBytes } from 'node:crypto';
import type { AgentLink } from '../../contract/link.ts';
import { toHawserError } from '../../core/errors.ts';
import { createAccounts } from './accounts.ts';
import { Agents } from './agents.ts';
import { ChangeRelay } from './change-relay.ts';
import { ChangeHub } from './changes.ts';
import type { Context, ControlConfig } from './context.ts';
import { createCopies } from './copies.ts';
import { Pulls } from './copies-pull.ts';
import { Upkeep } from './copies-upkeep.ts';
import { type Dial, Followers } from './followers.ts';
import type { ChangeBus } from './host-ports.ts';
import { createHosts } from './hosts.ts';
import { createImages } from './images.ts';
import { type AgentDoorUseCases, createAgentDoor, type Joining } from './joining.ts';
import { LiveUploads } from './live.ts';
import type { ControlDb, Log, Waker } from './ports.ts';
import { Presence } from './presence.ts';
import { Reports } from './reports.ts';
import { createStores } from './stores.ts';
import { sweep } from './sweep.ts';
import { createTasks } from './tasks.ts';
import { type TicketSubject, Tickets } from './tickets.ts';
import { createUploadServers, type UploadServerUseCases } from './upload-servers.ts';
import { createUploads } from './uploads.ts';
import type { Access, UseCases } from './use-cases.ts';
import { loadChange } from './views.ts';

export interface ControlOptions {
  readonly db: ControlDb;
  readonly waker: Waker;
  readonly config: ControlConfig;
  readonly randomId: () => string;
  readonly now: () => Date;
  readonly log: Log;
  /** As the context has it; without it every http and https URL is left to the agents. */
  readonly urlRefusal?: Context['urlRefusal'];
  /** 0 ≤ x < 1, for the choice of a Store. */
  readonly chance?: (() => number) | undefined;
  /** Other controls on the same database are heard over it. */
  readonly bus?: ChangeBus | undefined;
  /** Reaches agents in other processes; without it only those that are attached count. */
  readonly dial?: Dial | undefined;
  /** Lets hosts join; without it none can. */
  readonly joining?: Joining | undefined;
}

export interface Control extends UseCases {
  readonly uploadServers: UploadServerUseCases;
  /** For the agent listener; undefined when hosts cannot join. */
  readonly agentDoor: AgentDoorUseCases | undefined;
  /** Hosts whose bytes are another process's, and control's own tickets for them. */
  readonly elsewhere: {
    has(hostId: string): boolean;
    access(hostId: string, subject: TicketSubject, refused?: Access): Promise<Access>;
  };
  /**
   * Follows an agent's reports until the signal fires; resolves then. The host it belongs to is learned
   * from its first report, and only then can uploads go there. May be called before or after `start`.
   */
  attach(link: AgentLink, signal: AbortSignal): Promise<void>;
  /** Resolves at the first full report of any agent: from then on uploads can be begun. */
  readonly firstAgent: Promise<void>;
  /** Begins the ticking (once a second) and the waking (pg-boss). */
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  /** One round of what `start` does by the clock, for tests and for those in a hurry. */
  tick(): Promise<void>;
  sweep(): Promise<void>;
}

export function createControl(options: ControlOptions): Control {
  const live = new LiveUploads();
  const agents = new Agents();
  const id = options.randomId();
  const relay = options.bus && new ChangeRelay(options.bus, id, options.log);
  const changes = new ChangeHub((kind, id) => loadChange(context, kind, id), options.log, relay);
  const context: Context = {
    ...options,
    live,
    agents,
    changes,
    randomSecret: () => randomBytes(32).toString('base64url'),
    chance: options.chance ?? Math.random,
    tend: () => upkeep.soon(),
  };
  const tickets = new Tickets(context);
  const pulls = new Pulls(context, tickets);
  const upkeep = new Upkeep(context, pulls);
  const reports = new Reports(context, pulls, (hostId) => upkeep.hostBack(hostId));
  const followers =
    options.dial && new Followers(context, options.dial, (link, signal) => reports.follow(link, signal));
  const present = new Presence(context, id, () => options.joining?.urls() ?? []);
  const tick = async () => {
    await reports.tick();
    await upkeep.tick();
  };
  const sweepAll = async () => {
    await sweep(context);
    await upkeep.round();
  };
  const clock = new Clock(async () => {
    await reports.tick();
    // A host that does not answer must not hold up who notices that.
    upkeep.tickBeside();
    await present.tick();
  }, options.log);
  return {
    ...offered(context, { pulls, tickets }, options.joining),
    firstAgent: agents.first,
    attach: (link, signal) => reports.follow(link, signal),
    start: async (signal) => {
      signal.addEventListener('abort', () => clock.stop(), { once: true });
      changes.watch((kind) => {
        if (kind === 'host') followers?.refresh();
      });
      await changes.start();
      await present.tick();
      clock.start();
      followers?.refresh();
      await options.waker.start(sweepAll);
    },
    stop: async () => {
      await followers?.stop();
      await clock.stop();
      await options.waker.stop();
      await upkeep.stop();
      await pulls.stop();
      await present.leave();
      await changes.close();
    },
    tick,
    sweep: sweepAll,
  };
}

type Offered = UseCases & Pick<Control, 'agentDoor' | 'elsewhere' | 'uploadServers'>;

function offered(
  context: Context,
  { pulls, tickets }: { readonly pulls: Pulls; readonly tickets: Tickets },
  joining: Joining | undefined,
): Offered {
  return {
    images: createImages(context, tickets),
    copies: createCopies(context, { pulls, tickets }),
    uploads: createUploads(context, tickets),
    tasks: createTasks(context, pulls),
    stores: createStores(context),
    hosts: createHosts(context, joining),
    agentDoor: joining && createAgentDoor(context, joining),
    elsewhere: {
      has: (hostId) => !context.agents.isLocal(hostId),
      access: (hostId, subject, refused) => tickets.own(hostId, subject, refused),
    },
    accounts: createAccounts(context),
    uploadServers: createUploadServers(context),
    changes: context.changes,
  };
}

const TICK = 1_000;

/** Calls `tick` a second after the last one ended. */
class Clock {
  readonly #tick: () => Promise<void>;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(tick: () => Promise<void>, log: Log) {
    this.#tick = tick;
    this.#log = log;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#round().then(() => this.start());
    }, TICK);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** A round that fails (the database is away) is made up for by the next one. */
  async #round(): Promise<void> {
    try {
      await this.#tick();
    } catch (error) {
      this.#log.warn({ event: 'tick.failed', error: toHawserError(error).message });
    }
  }
}
