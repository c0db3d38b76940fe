import type { AgentRequest, UploadReport } from '../../contract/link.ts';
import { type ErrorCode, errorCatalogue, isErrorCode, isHawserError, toHawserError } from '../../core/errors.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import type { CopyPlace } from './copy-ports.ts';
import { endUpload } from './ending.ts';
import { sealFetched } from './finish.ts';
import { openAgain } from './opening.ts';
import type { UploadRow } from './ports.ts';
import type { Tickets } from './tickets.ts';
import { touchUpload } from './views.ts';
import { verifyCopy } from './work.ts';

type PullSource = AgentRequest<'startPull'>['source'];
interface Source {
  readonly pull: PullSource;
  /** For people. */
  readonly from: string;
}

interface Problem {
  readonly code: string;
  readonly message: string;
}

/** For so long one control has the right to have a Copy fetched; then another one may try. */
const CLAIM_SECONDS = 20;
/** A Task that a person cancelled is not begun again by itself before. */
const CANCELLED_SECONDS = 300;

/**
 * Has agents fetch what they can fetch by themselves, and takes what becomes of it. Every step may be
 * repeated, here and on other controls: the right to start is claimed in the database, the rest is
 * compare-and-set.
 */
export class Pulls {
  readonly #context: Context;
  readonly #tickets: Tickets;
  /** Per Upload: Copies that could not be read from lately. */
  readonly #avoid = new Map<string, Set<string>>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #next = new Map<string, () => Promise<void>>();
  readonly #ending = new AbortController();

  constructor(context: Context, tickets: Tickets) {
    this.#context = context;
    this.#tickets = tickets;
  }

  /** Resolves when nothing is being started or finished any more. */
  async stop(): Promise<void> {
    this.#ending.abort();
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** Takes what an agent says of an Upload that it fetches; does not wait for what follows. */
  take(row: UploadRow, report: UploadReport): void {
    if (row.source.kind === 'client' || row.state !== 'open' || report.state !== 'open') return;
    if (report.pull === null) this.start(row);
    if (report.pull === 'waiting' && report.problem !== null) this.#once(row.id, () => this.#switch(row));
    if (report.pull === 'done') this.#once(row.id, () => this.#finish(row, report));
    if (report.pull === 'failed') {
      const problem = report.problem ?? { code: 'internal', message: 'The agent gave no reason.' };
      this.#once(row.id, () => this.#failed(row, problem, 'reported'));
    }
  }

  /** Asks the agent how the fetching stands, when nothing was heard of it here or it had stopped. */
  async look(row: UploadRow): Promise<void> {
    const { agents, live } = this.#context;
    if (live.get(row.id)?.pull === 'failed') return this.start(row);
    try {
      const ref = { uploadId: row.id, generation: row.generation };
      this.take(row, await agents.of(row.hostId).call('describeUpload', ref, this.#ending.signal));
    } catch (error) {
      if (isHawserError(error, 'not-found')) this.#once(row.id, () => this.#openAgain(row));
      else if (!isUnreachable(error)) throw error; // away: its agent's next full report tells
    }
  }

  /** Its agent went away before it had answered that it opens it, or was never asked. */
  async #openAgain(row: UploadRow): Promise<void> {
    const now = await this.#context.db.uploads.find(row.id);
    if (now === undefined || now.state !== 'open' || now.receivedBytes > 0) return;
    await openAgain(this.#context, now);
    await this.#start(now);
  }

  start(row: UploadRow): void {
    this.#once(row.id, () => this.#start(row));
  }

  /** A person wants it now: the waiting is over. */
  async startNow(row: UploadRow): Promise<void> {
    await this.#context.db.copies.setRetry(row.copyId, 0, null);
    this.start(row);
  }

  /** One thing at a time for one Upload; of what comes meanwhile the last is done after it. */
  #once(uploadId: string, perform: () => Promise<void>): void {
    if (this.#ending.signal.aborted) return;
    if (this.#running.has(uploadId)) {
      this.#next.set(uploadId, perform);
      return;
    }
    const mine = perform()
      .catch((error) => {
        // The database or an agent is away: the next report or round does it.
        this.#context.log.warn({ event: 'pull.put-off', uploadId, error: toHawserError(error).message });
      })
      .finally(() => {
        this.#running.delete(uploadId);
        const next = this.#next.get(uploadId);
        this.#next.delete(uploadId);
        if (next !== undefined) this.#once(uploadId, next);
      });
    this.#running.set(uploadId, mine);
  }

  async #start(row: UploadRow): Promise<void> {
    const { db, agents, now } = this.#context;
    if (!agents.has(row.hostId) || !(await db.copies.claimPull(row.copyId, now(), CLAIM_SECONDS))) return;
    try {
      const source = await this.#source(row);
      if (source === undefined) return;
      const { id: uploadId, generation } = row;
      const status = await this.#noteRoute(row, source.from);
      await agents.of(row.hostId).call('startPull', { uploadId, generation, source: source.pull }, this.#ending.signal);
      await this.#runs(row, status);
      touchUpload(this.#context, row);
    } catch (error) {
      if (isUnreachable(error)) {
        // Begun again as soon as the one that did not answer is back, and not only when the claim ends.
        await db.copies.setRetry(row.copyId, await db.copies.tried(row.copyId), null);
        throw error;
      }
      const { code, message } = toHawserError(error);
      await this.#failed(row, { code, message }, 'ours');
    }
  }

  /** From where to where, kept for afterwards; the first report may be quicker than the answer. */
  async #noteRoute(row: UploadRow, from: string): Promise<string> {
    const { db } = this.#context;
    const store = await db.stores.find(row.storeId);
    const to = store === undefined ? 'a store that is gone' : `${store.name} on ${store.hostName}`;
    const status = `From ${from} to ${to}`;
    await db.tasks.setResult(row.taskId, { from, to });
    // A paused one says why it is until it runs.
    if ((await db.tasks.find(row.taskId))?.state === 'INITIATED') await db.tasks.setStatus(row.taskId, status, null);
    return status;
  }

  async #runs(row: UploadRow, status: string): Promise<void> {
    const { db } = this.#context;
    if (await db.move('tasks', row.taskId, 'RUNNING', { from: ['INITIATED', 'PAUSED'], status })) return;
    const task = await db.tasks.find(row.taskId);
    if (task?.state === 'RUNNING' && task.status !== status) await db.tasks.setStatus(row.taskId, status, null);
  }

  /** The agent tries again by itself; but when the host that it reads from is gone, another one may have it. */
  async #switch(row: UploadRow): Promise<void> {
    const upload = await this.#context.db.uploads.find(row.id);
    if (upload?.source.kind !== 'copy' || upload.fromCopyId === null) return;
    const copies = await this.#context.db.copies.of(upload.source.imageId);
    const from = copies.find((copy) => copy.id === upload.fromCopyId);
    if (from?.online === true && from.state === 'ready') return;
    if (copies.some((copy) => copy.state === 'ready' && copy.online)) await this.#start(upload);
  }

  async #source(row: UploadRow): Promise<Source | undefined> {
    const { source } = row;
    if (source.kind === 'url') {
      // Without its path and query: those may hold what is nobody's business.
      return { pull: { ...source }, from: new URL(source.url).host };
    }
    if (source.kind === 'client') return undefined;
    const chosen = await this.#chooseCopy(row, source.imageId);
    if (chosen === undefined) return undefined;
    const { copy, size, treeDigest } = chosen;
    const { hostId, storeId, key } = copy;
    const access = await this.#tickets.install(hostId, { kind: 'copy', storeId, key }, ['read']);
    const local = hostId === row.hostId ? { storeId, key } : null;
    const { url, token: ticket, ca, host } = access;
    return {
      pull: { kind: 'copy', url, ticket, ca, host, size, treeDigest, local },
      from: `${copy.storeName} on ${copy.hostName}`,
    };
  }

  /** The best ready Copy to read, noted as in use under the lock of its Image; undefined: there is none now. */
  async #chooseCopy(row: UploadRow, imageId: string) {
    const { db, agents, chance } = this.#context;
    const found = await db.transaction(async (tx) => {
      const image = await tx.images.lock(imageId);
      if (image === undefined || image.state === 'deleted' || image.state === 'failed')
        return { kind: 'gone' } as const;
      const ready = (await tx.copies.of(imageId)).filter(
        (copy) => copy.state === 'ready' && copy.id !== row.copyId && agents.has(copy.hostId),
      );
      const avoid = this.#avoid.get(row.id);
      const untried = ready.filter((copy) => avoid?.has(copy.id) !== true);
      if (untried.length === 0) this.#avoid.delete(row.id);
      const best = bestSources(untried.length > 0 ? untried : ready, row.hostId);
      const copy = best[Math.floor(chance() * best.length)];
      if (copy === undefined || image.size === null) return { kind: 'none' } as const;
      await tx.uploads.setFrom(row.id, copy.id);
      const treeDigest = image.digests.find((digest) => digest.algorithm === 'tree-sha256')?.hex ?? null;
      return { kind: 'chosen', copy, size: image.size, treeDigest } as const;
    });
    if (found.kind === 'chosen') return found;
    const problem =
      found.kind === 'none'
        ? { code: 'unavailable', message: 'No ready copy to read from can be reached now.' }
        : row.purpose === 'copy'
          ? { code: 'conflict', message: 'No good copy is left to read from.' }
          : { code: 'conflict', message: 'The image that was to be cloned is not there any more.' };
    await this.#failed(row, problem, 'ours');
    return undefined;
  }

  async #finish(row: UploadRow, report: UploadReport): Promise<void> {
    try {
      await sealFetched(this.#context, row, report);
      this.#avoid.delete(row.id);
      this.#context.tend();
    } catch (error) {
      if (isUnreachable(error)) throw error;
      const { code, message } = toHawserError(error);
      await this.#failed(row, { code, message }, 'ours');
    }
  }

  /**
   * A retryable reason pauses its Task until it is tried again, the others end it. What is reported twice (to
   * several controls, or after it was begun anew) counts once: only for a Task that is not paused.
   */
  async #failed(row: UploadRow, problem: Problem, by: 'reported' | 'ours'): Promise<void> {
    const { db, now, log } = this.#context;
    const code = isErrorCode(problem.code) ? problem.code : 'internal';
    const upload = await db.uploads.find(row.id);
    if (upload === undefined || upload.state !== 'open') return;
    const another = await this.#blame(upload, code);
    const tries = (await db.copies.tried(row.copyId)) + 1;
    const wait = another ? 0 : backoffSeconds(tries);
    const at = new Date(now().getTime() + wait * 1000);
    // A further Copy of what has no other left comes from nowhere; what is to be done then the Image says.
    const orphan = upload.purpose === 'copy' && (await db.images.find(upload.imageId))?.state !== 'ready';
    if (orphan || isFinal(upload, code)) {
      log.warn({ event: 'pull.ended', uploadId: row.id, code, tries });
      const status = problem.message;
      const retry = orphan ? undefined : { tries, at };
      await endUpload(this.#context, upload, { to: 'failed', status, cause: code, image: 'failed', retry });
      return;
    }
    const status = wait === 0 ? problem.message : `${problem.message} It is tried again at ${clock(at)}.`;
    const paused = await db.transaction(async (tx) => {
      // Before its rows, as everybody who ends it does: two that meet in another order would lock each other out.
      await tx.images.lock(row.imageId);
      const from = ['INITIATED', 'RUNNING'] as const;
      const moved = await tx.move('tasks', row.taskId, 'PAUSED', { from, status, cause: code });
      if (!moved && by === 'reported') return false;
      if (!moved) await tx.tasks.setStatus(row.taskId, status, code);
      await tx.uploads.setFrom(row.id, null);
      await tx.copies.setRetry(row.copyId, tries, at);
      return true;
    });
    if (!paused) return;
    log.warn({ event: 'pull.paused', uploadId: row.id, code, tries, waitSeconds: wait });
    const live = this.#context.live.get(row.id);
    if (live !== undefined) live.phase = 'other';
    if (wait === 0) this.#context.tend();
    touchUpload(this.#context, row);
  }

  /** Remembers which Copy could not be read; true when another one may be asked at once. A damaged one is verified. */
  async #blame(upload: UploadRow, code: ErrorCode): Promise<boolean> {
    if (upload.source.kind !== 'copy' || upload.fromCopyId === null || ourTrouble.includes(code)) return false;
    const { fromCopyId } = upload;
    const avoid = this.#avoid.get(upload.id) ?? new Set();
    this.#avoid.set(upload.id, avoid.add(fromCopyId));
    const { imageId } = upload.source;
    if (code === 'corrupt' || code === 'digest-mismatch' || code === 'source-changed') {
      await verifyCopy(this.#context, imageId, fromCopyId);
    }
    const copies = await this.#context.db.copies.of(imageId);
    return copies.some((copy) => copy.state === 'ready' && copy.online && !avoid.has(copy.id));
  }
}

/** Of this very host first: nothing crosses the network; then whatever is heard and is not being emptied. */
function bestSources(ready: readonly CopyPlace[], hostId: string): readonly CopyPlace[] {
  const steps = [
    (copy: CopyPlace) => copy.online && copy.hostId === hostId,
    (copy: CopyPlace) => copy.online,
    () => true,
  ];
  for (const step of steps) {
    const some = ready.filter(step);
    if (some.length > 0) return some;
  }
  return [];
}

/** What goes wrong where the bytes are to lie, not where they come from. */
const ourTrouble: readonly ErrorCode[] = ['store-full', 'store-failed', 'paused', 'quota-exceeded', 'unsupported'];

/** Another ready Copy, or a fresh ticket, may help against these. */
const sourceTrouble: readonly ErrorCode[] = [
  'not-found',
  'unauthenticated',
  'forbidden',
  'expired',
  'corrupt',
  'source-changed',
  'incomplete',
];

function isFinal(upload: UploadRow, code: ErrorCode): boolean {
  // It is made elsewhere then.
  if (upload.purpose === 'copy' && (code === 'store-full' || code === 'store-failed')) return true;
  if (errorCatalogue[code].retryable) return false;
  return !(upload.source.kind === 'copy' && sourceTrouble.includes(code));
}

/** 1, 2, 4 … at most 5 minutes. */
export function backoffSeconds(tries: number): number {
  return Math.min(5, 2 ** (tries - 1)) * 60;
}

/** When a Copy whose making a person cancelled may be begun again by itself. */
export function afterCancel(now: Date): Date {
  return new Date(now.getTime() + CANCELLED_SECONDS * 1000);
}

function clock(at: Date): string {
  return `${at.toISOString().slice(11, 19)} UTC`;
}
