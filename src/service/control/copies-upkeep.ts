import { toHawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import { giveUpAway } from './copies-away.ts';
import { fetchLost } from './copies-fetch.ts';
import type { Pulls } from './copies-pull.ts';
import { recheckHost } from './copies-recheck.ts';
import { tendImage } from './copies-tend.ts';
import { touchPlace } from './views.ts';

/** Without a reason to look sooner, everything is looked at so often. */
const ROUND_SECONDS = 15;
const PAGE = 200;

/**
 * Looks after Copies: makes missing ones, moves them off what is emptied, repairs damaged ones, re-checks,
 * and has fetched what stopped. A round is safe at any time and on several controls at once: whoever locks an
 * Image first acts, and the others find it done.
 */
export class Upkeep {
  readonly #context: Context;
  readonly #pulls: Pulls;
  /** Hosts that came back, whose Copies are all looked at. */
  readonly #back = new Set<string>();
  readonly #ending = new AbortController();
  #due = true;
  #lastAt = 0;
  #round: Promise<void> | undefined;

  constructor(context: Context, pulls: Pulls) {
    this.#context = context;
    this.#pulls = pulls;
  }

  soon(): void {
    this.#due = true;
  }

  hostBack(hostId: string): void {
    this.#back.add(hostId);
    this.#due = true;
  }

  /** A round when there is something to do, or none was for a while. */
  async tick(): Promise<void> {
    const idle = this.#context.now().getTime() - this.#lastAt;
    const usual = Math.min(ROUND_SECONDS, this.#context.config.copies.recheckSeconds) * 1000;
    if (this.#due || idle >= usual || idle < 0) await this.round();
  }

  /** As `tick`, without waiting; a round that fails is made up for by the next one. */
  tickBeside(): void {
    if (this.#round !== undefined || this.#ending.signal.aborted) return;
    this.tick().catch((error) => {
      this.#due = true;
      this.#context.log.warn({ event: 'copies.round-failed', error: toHawserError(error).message });
    });
  }

  /** Resolves when nothing of it is under way any more. */
  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#round?.catch(() => {});
  }

  /** Resolves when a round that began now or later has ended. */
  async round(): Promise<void> {
    while (this.#round !== undefined) await this.#round;
    if (this.#ending.signal.aborted) return;
    this.#round = this.#run().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #run(): Promise<void> {
    const { db, now } = this.#context;
    this.#due = false;
    this.#lastAt = now().getTime();
    await this.#away();
    await this.#recheck();
    for (const imageId of await db.copies.lostDownloads(PAGE)) {
      await this.#each(imageId, () => fetchLost(this.#context, this.#pulls, imageId));
    }
    for (let after: string | undefined; ; ) {
      const page = await db.copies.imagesToTend(now(), after, PAGE);
      for (const imageId of page) await this.#each(imageId, () => tendImage(this.#context, this.#pulls, imageId));
      after = page.at(-1);
      if (page.length < PAGE) break;
    }
    await this.#resume();
  }

  /** One Image that cannot be tended keeps nobody from the others. */
  async #each(imageId: string, perform: () => Promise<void>): Promise<void> {
    if (this.#ending.signal.aborted) return;
    try {
      await perform();
    } catch (error) {
      const { code, message } = toHawserError(error);
      this.#context.log.warn({ event: 'copies.untended', imageId, code, error: message });
    }
  }

  /** Of Copies on hosts that have been silent for long nothing may be concluded; they are made elsewhere. */
  async #away(): Promise<void> {
    const { db, config, changes, log } = this.#context;
    const { awaySeconds } = config.copies;
    for (const copy of await db.copies.away(awaySeconds, 1000)) {
      const status = `The host ${copy.hostName} does not answer.`;
      const gone = await db.transaction(async (tx) => {
        await tx.images.lock(copy.imageId);
        return tx.move('copies', copy.id, 'unknown', { from: ['ready'], status });
      });
      if (!gone) continue;
      log.warn({ event: 'copy.away', imageId: copy.imageId, copyId: copy.id });
      changes.touch('image', copy.imageId);
      touchPlace(this.#context, copy);
    }
    for (const upload of await db.uploads.awayPulls(awaySeconds, PAGE)) {
      await this.#each(upload.imageId, () => giveUpAway(this.#context, upload));
    }
  }

  async #recheck(): Promise<void> {
    const { agents, config, db } = this.#context;
    const at = await db.copies.now();
    const usual = new Date(at.getTime() - config.copies.recheckSeconds * 1000);
    const hosts = new Set((await db.stores.list()).map((store) => store.hostId));
    for (const hostId of hosts) {
      if (!agents.has(hostId)) continue;
      const before = this.#back.delete(hostId) ? at : usual;
      const done = await recheckHost(this.#context, { hostId, before, at, signal: this.#ending.signal });
      if (!done) this.#back.add(hostId);
    }
  }

  /** What should be fetched and is not, as far as is known here. */
  async #resume(): Promise<void> {
    const { db, agents, live, now } = this.#context;
    const hosts = new Set((await db.stores.list()).map((store) => store.hostId));
    for (const hostId of hosts) {
      if (!agents.has(hostId)) continue;
      for (const upload of await db.uploads.duePulls(hostId, now())) {
        const pull = live.get(upload.id)?.pull;
        if (pull === 'running' || pull === 'waiting') continue;
        await this.#pulls.look(upload);
      }
    }
  }
}
