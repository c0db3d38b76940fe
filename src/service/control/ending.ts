import { isHawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import type { ControlDb, TaskRow, UploadRow } from './ports.ts';
import { touchPlace, touchUpload } from './views.ts';

/** How an Upload ends without being sealed. */
export interface UploadEnd {
  readonly to: 'failed' | 'expired' | 'cancelled';
  /** For people: why. */
  readonly status: string;
  readonly cause: string;
  /** What becomes of the Image that it fills: failed ones can be filled again. One that it only copies stays as it is. */
  readonly image: 'failed' | 'deleted';
  /** For what agents fetch: how often it was tried in vain, and when it may be tried anew. */
  readonly retry?: { readonly tries: number; readonly at: Date } | undefined;
}

/**
 * Ends an Upload with its Copy, Image and Task in one transaction, then has the agent give bytes and
 * space back (later, if it cannot be reached). True when this call did it.
 */
export async function endUpload(context: Context, upload: UploadRow, end: UploadEnd): Promise<boolean> {
  const won = await context.db.transaction(async (tx) => {
    await tx.images.lock(upload.imageId);
    return endUploadIn(tx, upload, end);
  });
  if (!won) return false;
  context.live.delete(upload.id);
  touchUpload(context, upload);
  context.log.info({ event: `upload.${end.to}`, uploadId: upload.id, purpose: upload.purpose, cause: end.cause });
  if (upload.purpose === 'copy') context.tend();
  await settle(context, { ...upload, duty: 'discard' });
  return true;
}

/** The rows' part of `endUpload`, in a transaction that holds the Image's lock. The agent is owed the rest. */
export async function endUploadIn(tx: ControlDb, upload: UploadRow, end: UploadEnd): Promise<boolean> {
  const { status, cause, retry } = end;
  if (!(await tx.move('uploads', upload.id, end.to, { status }))) return false;
  await tx.uploads.setDuty(upload.id, 'discard');
  await tx.uploads.releaseKey(upload.id);
  if (retry !== undefined) await tx.copies.setRetry(upload.copyId, retry.tries, retry.at);
  await tx.move('copies', upload.copyId, 'removing', { status });
  if (upload.purpose === 'fill') await tx.move('images', upload.imageId, end.image, { status });
  await tx.move('tasks', upload.taskId, end.to === 'cancelled' ? 'CANCELLED' : 'FAILURE', { status, cause });
  return true;
}

/** Tells the agent what is still owed for an Upload that ended; what cannot be told now is told later. */
export async function settle(context: Context, upload: UploadRow): Promise<boolean> {
  if (upload.duty === null) return true;
  const command = upload.duty === 'discard' ? 'discardUpload' : 'forgetUpload';
  const told = await tell(context, upload.hostId, async () => {
    const link = context.agents.of(upload.hostId);
    await link.call(command, { uploadId: upload.id, generation: upload.generation });
  });
  if (!told) return false;
  await context.db.transaction(async (db) => {
    await db.uploads.setDuty(upload.id, null);
    if (upload.duty === 'discard') await db.move('copies', upload.copyId, 'removed');
  });
  touchPlace(context, upload);
  return true;
}

/** Has the agent remove the bytes of a Copy that is marked `removing`. */
export async function removeBytes(
  context: Context,
  copy: { readonly id: string; readonly storeId: string; readonly key: string; readonly hostId: string },
): Promise<boolean> {
  const told = await tell(context, copy.hostId, async () => {
    await context.agents.of(copy.hostId).call('removeCopy', { storeId: copy.storeId, key: copy.key });
  });
  if (!told) return false;
  await context.db.move('copies', copy.id, 'removed');
  touchPlace(context, copy);
  return true;
}

/** Has the agent forget (and stop, when it was cancelled) the work of a Task whose end is recorded. */
export async function forgetWork(context: Context, task: TaskRow): Promise<boolean> {
  const { work } = task;
  if (work === null) return true;
  const told = await tell(context, work.hostId, async () => {
    const link = context.agents.of(work.hostId);
    if (task.state === 'CANCELLED') await link.call('cancelWork', { taskId: task.id });
    await link.call('forgetWork', { taskId: task.id });
  });
  if (told) await context.db.tasks.setForget(task.id, false);
  return told;
}

/**
 * True when the agent has done it, or has nothing to do it to. What fails otherwise stays recorded as
 * owed, so it is tried again: soon, at each sweep, and when the agent comes back.
 */
async function tell(context: Context, hostId: string, command: () => Promise<void>): Promise<boolean> {
  try {
    await command();
    return true;
  } catch (error) {
    if (isHawserError(error, 'not-found')) return true;
    if (!isHawserError(error)) throw error;
    context.log.warn({ event: 'agent.owed', hostId, code: error.code });
    await context.waker.soon(15);
    return false;
  }
}
