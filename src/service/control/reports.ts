import { setTimeout } from 'node:timers/promises';
import type { AgentEvent, AgentLink, StoreReport, UploadReport } from '../../contract/link.ts';
import { isErrorCode, toHawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import type { Pulls } from './copies-pull.ts';
import { endUpload } from './ending.ts';
import { completeUpload } from './finish.ts';
import type { LiveUpload } from './live.ts';
import type { StoreSeen, UploadRow } from './ports.ts';
import { reconcile } from './reconcile.ts';
import { touchPlace } from './views.ts';
import { takeWork } from './work.ts';

/** How often an Upload's numbers go to the database. */
const WRITE_GAP = 2_000;
const SILENT_SECONDS = 10;

/** Takes what agents report, and watches what they no longer do. */
export class Reports {
  readonly #context: Context;
  readonly #pulls: Pulls;
  /** A host is (back) here: what it has may have changed meanwhile. */
  readonly #onFull: (hostId: string) => void;
  readonly #heardAt = new Map<string, number>();
  /** Stores that could not be used when they were last heard of. */
  readonly #troubled = new Set<string>();

  constructor(context: Context, pulls: Pulls, onFull: (hostId: string) => void) {
    this.#context = context;
    this.#pulls = pulls;
    this.#onFull = onFull;
  }

  /**
   * Follows one agent until the signal fires. When a report cannot be taken (the database is away)
   * the stream begins anew, and its first report is `full`: nothing is missed.
   */
  async follow(link: AgentLink, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const connection = new AbortController();
      try {
        let hostId: string | undefined;
        for await (const event of link.events(AbortSignal.any([signal, connection.signal]))) {
          if (event.kind === 'full') hostId = event.host.hostId;
          if (hostId !== undefined) await this.take(hostId, event, link);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#context.log.error({ event: 'report.failed', error: toHawserError(error).message });
      } finally {
        connection.abort();
      }
      await setTimeout(500, undefined, { signal }).catch(() => {}); // stopped: looked at above
    }
  }

  async take(hostId: string, event: AgentEvent, link: AgentLink): Promise<void> {
    const { db } = this.#context;
    switch (event.kind) {
      case 'full':
        await db.stores.saveHost(event.host);
        this.#context.changes.touch('host', hostId);
        await this.#takeStores(hostId, event.host.stores);
        this.#context.agents.set(hostId, link);
        await reconcile(this.#context, event);
        this.#onFull(hostId);
        for (const upload of event.uploads) await this.#takeUpload(hostId, upload);
        break;
      case 'upload':
        await this.#takeUpload(hostId, event.upload);
        break;
      case 'work':
        await takeWork(this.#context, hostId, event.work);
        break;
      case 'stores':
        await this.#takeStores(hostId, event.stores);
        break;
      case 'alive':
        break;
    }
    await this.#heard(hostId);
  }

  async #takeUpload(hostId: string, report: UploadReport): Promise<void> {
    const { live, now } = this.#context;
    const known = live.get(report.uploadId);
    if (known !== undefined && known.hostId !== hostId) return;
    const fetching = known?.fetched !== true || report.pull === 'running' || report.pull === 'waiting';
    const plain = report.sealed === null && report.problem === null && report.state !== 'failed' && fetching;
    const row = known?.phase === 'running' && plain ? undefined : await this.#find(hostId, report);
    if (known === undefined && row === undefined) return;
    if (report.sealed !== null) {
      if (row !== undefined) await completeUpload(this.#context, row.id, report.sealed);
      return;
    }
    const upload = known ?? (row && (await this.#meetFirst(row)));
    if (upload === undefined) return;
    const grew = live.take(upload, report, now());
    if (row !== undefined && (await this.#meet(upload, row, report))) return;
    if (row !== undefined) this.#pulls.take(row, report);
    if (grew && row?.state === 'open') await this.#running(upload);
    this.#context.changes.touch('upload', upload.uploadId);
    this.#context.changes.touch('task', upload.taskId);
    if (grew) this.#context.changes.touch('image', upload.imageId);
    await this.#write(upload);
  }

  /** Once a second: writes what waits, notices clients that went away and hosts that fell silent. */
  async tick(): Promise<void> {
    const { live, now, config, db, changes } = this.#context;
    for (const upload of [...live.all()]) {
      await this.#write(upload);
      const idle = now().getTime() - (upload.bytesAt?.getTime() ?? 0);
      if (
        upload.phase === 'running' &&
        !upload.fetched &&
        upload.connections === 0 &&
        idle > config.uploads.awayAfterSeconds * 1000
      ) {
        await this.#away(upload);
      }
      if (idle < 8_000 && upload.phase === 'running') changes.touch('task', upload.taskId);
    }
    for (const hostId of await db.stores.markSilent(SILENT_SECONDS)) {
      this.#context.tend();
      this.#context.log.warn({ event: 'host.silent', hostId });
      changes.touch('host', hostId);
      for (const store of await db.stores.list()) {
        if (store.hostId !== hostId) continue;
        changes.touch('store', store.id);
        for (const upload of live.all()) if (upload.storeId === store.id) upload.connections = 0;
      }
    }
  }

  /** The live Upload that this report is about; an agent speaks of those of its own host only. */
  async #find(hostId: string, report: UploadReport): Promise<UploadRow | undefined> {
    const row = await this.#context.db.uploads.find(report.uploadId);
    if (row === undefined || row.hostId !== hostId) return undefined;
    if (row.generation !== report.generation || row.duty !== null) return undefined;
    return row.state === 'open' || row.state === 'paused' || row.state === 'finishing' ? row : undefined;
  }

  /** After a restart of control its Task may be RUNNING already. */
  async #meetFirst(row: UploadRow): Promise<LiveUpload> {
    const task = await this.#context.db.tasks.find(row.taskId);
    const upload = this.#context.live.get(row.id) ?? this.#context.live.add(liveOf(row), this.#context.now());
    if (task?.state === 'RUNNING') upload.phase = 'running';
    return upload;
  }

  /** True when its problem, or the agent, ended the Upload. */
  async #meet(upload: LiveUpload, row: UploadRow, { problem, state, pull }: UploadReport): Promise<boolean> {
    if (problem === null && state !== 'failed') return false;
    const code = isErrorCode(problem?.code) ? problem.code : 'internal';
    if (state === 'failed' || code === 'format-unsafe' || code === 'format-mismatch' || code === 'too-large') {
      const status = problem?.message ?? 'The host refused what it received; upload it again.';
      return endUpload(this.#context, row, { to: 'failed', status, cause: code, image: 'failed' });
    }
    // Of a fetch that failed `Pulls` decides what becomes of it.
    if (problem === null || pull === 'failed') return false;
    const paused = await this.#context.db.move('tasks', row.taskId, 'PAUSED', {
      from: ['INITIATED', 'RUNNING'],
      status: problem.message,
      cause: code,
    });
    if (paused) upload.phase = 'other';
    return false;
  }

  async #running(upload: LiveUpload): Promise<void> {
    const { db } = this.#context;
    await db.transaction(async (tx) => {
      await tx.images.lock(upload.imageId);
      await tx.move('copies', upload.copyId, 'in-progress', { from: ['pending'] });
      if (upload.fetched) await tx.copies.setRetry(upload.copyId, 0, null);
      await tx.move('images', upload.imageId, 'in-progress', { from: ['pending'], status: '' });
      const status = upload.fetched ? {} : { status: 'Receiving' };
      await tx.move('tasks', upload.taskId, 'RUNNING', { from: ['INITIATED', 'PAUSED'], ...status });
    });
    upload.phase = 'running';
  }

  async #away(upload: LiveUpload): Promise<void> {
    await this.#context.db.move('tasks', upload.taskId, 'PAUSED', {
      from: ['RUNNING'],
      status: 'Waiting for the client to send on',
      cause: 'client-away',
    });
    upload.phase = 'other';
    this.#context.changes.touch('task', upload.taskId);
  }

  async #write(upload: LiveUpload): Promise<void> {
    const { db, now, config } = this.#context;
    if (!upload.dirty || now().getTime() - upload.writtenAt < WRITE_GAP) return;
    const { receivedBytes, zeroBytes, declaredSize, active } = upload;
    upload.dirty = false;
    upload.active = false;
    upload.writtenAt = now().getTime();
    const { expireAfterSeconds } = config.uploads;
    await db.uploads.setProgress(upload.uploadId, {
      receivedBytes,
      zeroBytes,
      declaredSize,
      active,
      expireAfterSeconds,
    });
    this.#context.changes.touch('store', upload.storeId);
  }

  async #takeStores(hostId: string, stores: readonly StoreReport[]): Promise<void> {
    for (const { storeId, problem } of stores) {
      // Its Copies could not be looked at for a while.
      if (problem === null && this.#troubled.delete(storeId)) this.#onFull(hostId);
      if (problem !== null) this.#troubled.add(storeId);
    }
    const changed = await this.#context.db.stores.saveStores(stores.map((store): StoreSeen => ({ ...store, hostId })));
    for (const storeId of changed) touchPlace(this.#context, { storeId, hostId });
  }

  async #heard(hostId: string): Promise<void> {
    const now = this.#context.now().getTime();
    if (now - (this.#heardAt.get(hostId) ?? 0) < WRITE_GAP) return;
    this.#heardAt.set(hostId, now);
    await this.#context.db.stores.heard(hostId);
  }
}

function liveOf(row: UploadRow) {
  const { id: uploadId, taskId, imageId, copyId, storeId, hostId, receivedBytes, zeroBytes } = row;
  const fetched = row.source.kind !== 'client';
  return { uploadId, taskId, imageId, copyId, storeId, hostId, fetched, receivedBytes, zeroBytes };
}
