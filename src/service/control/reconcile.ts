import type { AgentEvent, UploadReport } from '../../contract/link.ts';
import type { Context } from './context.ts';
import { endUpload, forgetWork, settle } from './ending.ts';
import { completeUpload } from './finish.ts';
import { openAgain } from './opening.ts';
import type { UploadRow } from './ports.ts';
import { startWork, takeWork } from './work.ts';

type Full = Extract<AgentEvent, { kind: 'full' }>;

/**
 * Brings the database and an agent together after they were apart. The database owns existence and
 * state, the agent's journal ranges and seals; they meet by id and generation.
 */
export async function reconcile(context: Context, full: Full): Promise<void> {
  const { hostId } = full.host;
  const reported = new Map(full.uploads.map((upload) => [upload.uploadId, upload]));
  for (const row of await context.db.uploads.liveOn(hostId)) {
    const report = reported.get(row.id);
    if (report === undefined) {
      // A Store that is not there now (a folder that is not mounted) may still have it.
      const store = full.host.stores.find((one) => one.storeId === row.storeId);
      if (store !== undefined && store.problem === null) await lost(context, row);
    } else if (report.generation === row.generation) await meet(context, row, report);
  }
  for (const row of await context.db.uploads.withDuty(hostId)) await settle(context, row);
  for (const report of full.uploads) await endStray(context, hostId, report);
  await reconcileWork(context, full);
}

/** The agent has nothing of it. Before the first byte nothing is lost: it is opened (again). */
async function lost(context: Context, row: UploadRow): Promise<void> {
  if (row.receivedBytes === 0 && row.state !== 'finishing') return openAgain(context, row);
  // It may have been sealed and forgotten, or begun, since the report was made.
  const now = await context.db.uploads.find(row.id);
  if (now === undefined || (now.state !== 'open' && now.state !== 'paused' && now.state !== 'finishing')) return;
  const again = row.source.kind === 'client' ? ' Upload it again.' : '';
  await endUpload(context, row, {
    to: 'failed',
    status: `The host has lost what it had received of this upload.${again}`,
    cause: 'store-failed',
    image: 'failed',
  });
}

async function meet(context: Context, row: UploadRow, report: UploadReport): Promise<void> {
  if (report.sealed !== null) return completeUpload(context, row.id, report.sealed);
  const ref = { uploadId: row.id, generation: row.generation };
  const link = context.agents.of(row.hostId);
  if (row.state === 'finishing') {
    // The finish was cut off before the seal; its client asks again.
    if (report.state === 'open') await context.db.move('uploads', row.id, 'open', { from: ['finishing'] });
  } else if (row.state === 'paused' && report.state === 'open') await link.call('pauseUpload', ref);
  else if (row.state === 'open' && report.state === 'paused') await link.call('resumeUpload', ref);
}

/**
 * What has ended here is not kept there. An Upload that the database has never heard of stays: its
 * bytes may be all there is after a database was restored from a copy.
 */
async function endStray(context: Context, hostId: string, report: UploadReport): Promise<void> {
  const row = await context.db.uploads.find(report.uploadId);
  if (row === undefined) {
    context.log.warn({ event: 'upload.stray', uploadId: report.uploadId });
    return;
  }
  if (row.hostId !== hostId || row.generation !== report.generation) return;
  if (row.state === 'sealed') await settle(context, { ...row, duty: 'forget' });
  else if (row.state === 'failed' || row.state === 'expired' || row.state === 'cancelled') {
    await settle(context, { ...row, duty: 'discard' });
  }
}

async function reconcileWork(context: Context, full: Full): Promise<void> {
  const reported = new Set(full.work.map((work) => work.taskId));
  for (const report of full.work) await takeWork(context, full.host.hostId, report);
  for (const task of await context.db.tasks.withWorkOn(full.host.hostId)) {
    if (task.endedAt !== null) await forgetWork(context, task);
    else if (!reported.has(task.id) && task.state !== 'PAUSED') await startWork(context, task.id);
  }
}
