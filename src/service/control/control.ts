import { randomBytes } from 'node:crypto';
import type { AgentLink } from '../../contract/link.ts';
import { toHawserError } from '../../core/errors.ts';
import { createAccounts } from './accounts.ts';
import { Agents } from './agents.ts';
import { ChangeHub } from './changes.ts';
import type { Context, ControlConfig } from './context.ts';
import { createImages } from './images.ts';
import { LiveUploads } from './live.ts';
import type { ControlDb, Log, Waker } from './ports.ts';
import { Reports } from './reports.ts';
import { createStores } from './stores.ts';
import { sweep } from './sweep.ts';
import { createTasks } from './tasks.ts';
import { Tickets } from './tickets.ts';
import { createUploads } from './uploads.ts';
import type { UseCases } from './use-cases.ts';
import { loadChange } from './views.ts';

export interface ControlOptions {
  readonly db: ControlDb;
  readonly waker: Waker;
  readonly config: ControlConfig;
  readonly randomId: () => string;
  readonly now: () => Date;
  readonly log: Log;
  /** 0 ≤ x < 1, for the choice of a Store. */
  readonly chance?: (() => number) | undefined;
}

export interface Control extends UseCases {
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
  const changes = new ChangeHub((kind, id) => loadChange(context, kind, id), options.log);
  const context: Context = {
    ...options,
    live,
    agents,
    changes,
    randomSecret: () => randomBytes(32).toString('base64url'),
    chance: options.chance ?? Math.random,
  };
  const tickets = new Tickets(context);
  const reports = new Reports(context);
  const clock = new Clock(() => reports.tick(), options.log);
  return {
    images: createImages(context, tickets),
    uploads: createUploads(context, tickets),
    tasks: createTasks(context),
    stores: createStores(context),
    accounts: createAccounts(context),
    changes,
    firstAgent: agents.first,
    attach: (link, signal) => reports.follow(link, signal),
    start: async (signal) => {
      signal.addEventListener('abort', () => clock.stop(), { once: true });
      clock.start();
      await options.waker.start(() => sweep(context));
    },
    stop: async () => {
      await clock.stop();
      await options.waker.stop();
      changes.close();
    },
    tick: () => reports.tick(),
    sweep: () => sweep(context),
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
