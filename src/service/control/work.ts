import type { WorkReport } from '../../contract/link.ts';
import { type Digest, digestAlgorithms, formatDigest } from '../../core/digest.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { Actor, Copy, Image, Task } from '../../core/nouns.ts';
import { copyStoreTitle } from '../../core/store-title.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import { loseCopy } from './copies-guard.ts';
import { forgetWork } from './ending.ts';
import type { TaskRow, Work } from './ports.ts';
import { taskView, touchPlace, visible } from './views.ts';

/** Makes a Task of work on a ready Image and has the agent begin. A Task of the same kind that has not ended is returned instead. */
export async function beginWork(
  context: Context,
  actor: Actor,
  imageId: string,
  wanted: { readonly kind: 'verify' } | { readonly kind: 'digest'; readonly algorithm: 'sha256' | 'sha512' | 'md5' },
): Promise<Task> {
  const { db } = context;
  const algorithm = wanted.kind === 'digest' ? wanted.algorithm : null;
  const taskId = await db.transaction(async (tx) => {
    const image = visible(actor, await tx.images.lock(imageId), 'image');
    const work = await workOn(tx, image, { kind: wanted.kind, algorithm });
    const same = (await tx.tasks.liveOf(imageId)).find(
      (task) => task.kind === wanted.kind && task.work?.algorithm === algorithm,
    );
    if (same !== undefined) return same.id;
    const id = context.randomId();
    const task = { id, kind: wanted.kind, imageId, uploadId: null, totalBytes: image.size, work, owner: image.owner };
    await tx.tasks.insert({ ...task, status: '' });
    await tx.images.setTask(imageId, id);
    return id;
  });
  await db.audit.append({ actor: actor.user, action: `image.${wanted.kind}`, subject: imageId });
  await startWork(context, taskId);
  context.changes.touch('task', taskId);
  context.changes.touch('image', imageId);
  const task = await db.tasks.find(taskId);
  return taskView(context, visible(actor, task, 'task'));
}

async function workOn(
  db: Pick<Context['db'], 'copies'>,
  image: Image,
  what: Pick<Work, 'kind' | 'algorithm'>,
): Promise<Work> {
  const ready = (await db.copies.of(image.id)).filter((one) => one.state === 'ready');
  const copy = image.state === 'ready' ? (ready.find((one) => one.online) ?? ready[0]) : undefined;
  if (copy === undefined) {
    throw new HawserError('conflict', `Only a ready image can be read; "${image.name}" is ${image.state}.`);
  }
  return { ...what, hostId: copy.hostId, storeId: copy.storeId, key: copy.key };
}

/**
 * Has one Copy compared with its recorded digests, unless that is under way: because its fingerprint is
 * another one now (`fingerprint`; the Copy is `unknown` until this ends), or because what was read from it
 * was not what it should be. Does not wait.
 */
export async function verifyCopy(
  context: Context,
  imageId: string,
  copyId: string,
  fingerprint?: string,
): Promise<void> {
  const { db } = context;
  const taskId = await db.transaction(async (tx) => {
    const image = await tx.images.lock(imageId);
    const copy = image?.copies.find((one) => one.id === copyId);
    if (image === undefined || copy === undefined) return undefined;
    if (copy.state !== 'ready' && copy.state !== 'unknown') return undefined;
    if (fingerprint !== undefined) {
      const status = 'Its bytes were touched behind our back; they are being compared.';
      await tx.move('copies', copyId, 'unknown', { status });
    }
    const { hostId, storeId, key } = copy;
    const live = await tx.tasks.liveOf(imageId);
    if (live.some(({ work }) => work?.kind === 'verify' && work.storeId === storeId && work.key === key))
      return undefined;
    const id = context.randomId();
    const work = { kind: 'verify', algorithm: null, hostId, storeId, key, fingerprint } as const;
    const task = {
      id,
      kind: 'verify',
      imageId,
      uploadId: null,
      totalBytes: image.size,
      work,
      owner: image.owner,
    } as const;
    await tx.tasks.insert({ ...task, status: `The copy in ${copyStoreTitle(copy)} is compared` });
    return id;
  });
  if (taskId === undefined) return;
  context.log.info({ event: 'copy.verify', imageId, copyId, changed: fingerprint !== undefined });
  context.changes.touch('image', imageId);
  const verified = (await db.tasks.find(taskId))?.work;
  if (verified != null) touchPlace(context, verified);
  await startWork(context, taskId);
}

/** Whether the Task makes an Image, so that the Image's fate hangs on it. */
function fills(task: TaskRow): boolean {
  return task.uploadId !== null && task.kind !== 'replicate';
}

/** Has the agent begin, or go on with, the work of a Task. When it cannot be reached it begins when the agent is back. */
export async function startWork(context: Context, taskId: string): Promise<void> {
  const task = await context.db.tasks.find(taskId);
  if (task?.work == null) return;
  const { kind, hostId, storeId, key, algorithm } = task.work;
  try {
    const work = kind === 'verify' ? { kind, storeId, key } : { kind, storeId, key, algorithm: algorithm ?? 'sha256' };
    const link = context.agents.of(hostId);
    const report = await link.call('startWork', { taskId, generation: task.generation, work });
    await takeWork(context, hostId, report);
  } catch (error) {
    if (isUnreachable(error)) return;
    const { code, message } = toHawserError(error);
    await failWork(context, task, { code, message });
  }
}

/** Takes what the agent of a host says of the work of a Task there; the same report twice changes nothing. */
export async function takeWork(context: Context, hostId: string, report: WorkReport): Promise<void> {
  const { db } = context;
  const task = await db.tasks.find(report.taskId);
  if (task?.work?.hostId !== hostId || report.generation !== task.generation) return;
  if (task.endedAt !== null) {
    if (task.forget) await forgetWork(context, task);
    return;
  }
  await db.tasks.setProgress(task.id, report.doneBytes, report.totalBytes);
  context.changes.touch('task', task.id);
  switch (report.state) {
    case 'running':
      await db.move('tasks', task.id, 'RUNNING', { from: ['INITIATED'], status: statusOf(task) });
      return;
    case 'paused':
      return;
    case 'cancelled':
      await endTask(context, task, 'CANCELLED', 'Cancelled', 'user');
      return;
    case 'failed':
      await failWork(context, task, report.problem ?? { code: 'internal', message: 'The agent gave no reason.' });
      return;
    case 'done':
      await doneWork(context, task, report.result ?? {});
  }
}

function statusOf(task: TaskRow): string {
  if (fills(task)) return 'verifying';
  return task.kind === 'verify' ? 'Reading and comparing' : `Computing ${task.work?.algorithm ?? 'the digest'}`;
}

async function doneWork(context: Context, task: TaskRow, result: Readonly<Record<string, unknown>>): Promise<void> {
  await context.db.tasks.setResult(task.id, result);
  if (task.work?.kind === 'verify') {
    const damaged = Array.isArray(result.damaged) ? result.damaged : [];
    if (damaged.length === 0) return endTask(context, task, 'SUCCESS', 'All bytes are as they were received', null);
    return failContent(context, task, damagedStatus(damaged), 'corrupt');
  }
  const algorithm = digestAlgorithms.find((known) => known === result.algorithm);
  if (algorithm === undefined || typeof result.hex !== 'string' || task.imageId === null) {
    return failWork(context, task, { code: 'internal', message: 'The agent gave no digest.' });
  }
  const digest = { algorithm, hex: result.hex };
  await context.db.images.addDigest(task.imageId, digest);
  if (!fills(task)) return endTask(context, task, 'SUCCESS', formatDigest(digest), null);
  const upload = task.uploadId === null ? undefined : await context.db.uploads.find(task.uploadId);
  const expected = upload?.expectedDigest;
  if (expected?.algorithm === algorithm && expected.hex !== digest.hex) {
    return failContent(context, task, mismatch(expected, digest.hex), 'digest-mismatch');
  }
  await endTask(context, task, 'SUCCESS', 'Uploaded and compared', null);
}

function damagedStatus(damaged: readonly unknown[]): string {
  const ranges = damaged.slice(0, 10).map((range) => {
    const { offset, length } = (typeof range === 'object' ? range : null) as { offset?: number; length?: number };
    return `${length ?? '?'} bytes at ${offset ?? '?'}`;
  });
  const more = damaged.length > 10 ? ` and ${damaged.length - 10} more` : '';
  return `Stored bytes are damaged: ${ranges.join(', ')}${more}. Upload it again, or restore the store.`;
}

/** What people are told when a declared digest is not the one found. */
export function mismatch(expected: Digest, found: string): string {
  return `The bytes have ${expected.algorithm}:${found}; ${formatDigest(expected)} was declared. Remove the image and upload it again, or check the source.`;
}

/**
 * The bytes of the Copy are not good; they stay until somebody removes them, or another Copy repairs them.
 * The Image fails when this was all there is of it.
 */
async function failContent(
  context: Context,
  task: TaskRow,
  ...[status, cause, to = 'FAILURE']: [string, string, ('FAILURE' | 'CANCELLED')?]
): Promise<void> {
  await context.db.transaction(async (tx) => {
    const image = task.imageId === null ? undefined : await tx.images.lock(task.imageId);
    if (!(await endTaskIn(tx, task, to, { status, cause }))) return;
    const copy = readCopy(image, task);
    if (image === undefined) return;
    if (copy !== undefined) await loseCopy(tx, image, copy.id, status);
    // One that was never ready hangs on this comparison.
    await tx.move('images', image.id, 'failed', { from: ['verifying'], status });
  });
  context.tend();
  await told(context, task);
}

function readCopy(image: Image | undefined, { work }: TaskRow): Copy | undefined {
  return image?.copies.find((one) => one.storeId === work?.storeId && one.key === work.key);
}

/** The work could not be done. Of an Upload that still has to be compared, nothing may be concluded: it fails. */
export async function failWork(
  context: Context,
  task: TaskRow,
  problem: { readonly code: string; readonly message: string },
): Promise<void> {
  if (fills(task)) return failContent(context, task, problem.message, problem.code);
  if (problem.code === 'corrupt') return failContent(context, task, problem.message, problem.code);
  await endTask(context, task, 'FAILURE', problem.message, problem.code);
}

async function endTask(
  context: Context,
  task: TaskRow,
  to: 'SUCCESS' | 'FAILURE' | 'CANCELLED',
  ...[status, cause]: [string, string | null]
): Promise<void> {
  if (fills(task) && to === 'CANCELLED') return failContent(context, task, status, 'user', to);
  await context.db.transaction(async (tx) => {
    const options = { status, ...(cause === null ? {} : { cause }) };
    const image = task.imageId === null ? undefined : await tx.images.lock(task.imageId);
    if (!(await endTaskIn(tx, task, to, options))) return;
    const copy = readCopy(image, task);
    if (to !== 'SUCCESS' || image === undefined || copy === undefined) return;
    if (fills(task)) {
      await tx.move('copies', copy.id, 'ready', { status: '' });
      await tx.move('images', image.id, 'ready', { from: ['verifying'], status: '' });
    } else if (task.work?.fingerprint !== undefined) {
      await tx.images.setCopyStored(copy.id, copy.storedSize ?? 0, task.work.fingerprint);
      const good = await tx.move('copies', copy.id, 'ready', { from: ['unknown'], status: '' });
      // It had failed because this file was gone.
      if (good && image.readyAt !== null) await tx.move('images', image.id, 'ready', { from: ['failed'], status: '' });
    }
  });
  await told(context, task);
}

async function endTaskIn(
  tx: Context['db'],
  task: TaskRow,
  to: 'SUCCESS' | 'FAILURE' | 'CANCELLED',
  options: { readonly status: string; readonly cause?: string },
): Promise<boolean> {
  if (to === 'SUCCESS') await tx.move('tasks', task.id, 'RUNNING', { from: ['INITIATED'] });
  if (!(await tx.move('tasks', task.id, to, options))) return false;
  await tx.tasks.setForget(task.id, true);
  return true;
}

async function told(context: Context, task: TaskRow): Promise<void> {
  context.changes.touch('task', task.id);
  if (task.imageId !== null) context.changes.touch('image', task.imageId);
  if (task.work !== null) touchPlace(context, task.work);
  const now = await context.db.tasks.find(task.id);
  if (now?.forget === true) await forgetWork(context, now);
}

/** Cancels the work of a Task, here and at the agent. */
export async function cancelWork(context: Context, task: TaskRow, status: string): Promise<void> {
  await endTask(context, task, 'CANCELLED', status, 'user');
}
