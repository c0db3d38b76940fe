import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Actor, Task, TaskAction } from '../../core/nouns.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import { afterCancel, type Pulls } from './copies-pull.ts';
import { endUpload } from './ending.ts';
import type { TaskRow, UploadRow } from './ports.ts';
import type { TaskUseCases } from './use-cases.ts';
import { actionsOf, ownerFilter, taskView, touchUpload, visible } from './views.ts';
import { cancelWork, startWork } from './work.ts';

export function createTasks(context: Context, pulls: Pulls): TaskUseCases {
  const { db } = context;
  const find = async (actor: Actor, id: string) => visible(actor, await db.tasks.find(id), 'task');
  const act = (action: TaskAction, perform: (task: TaskRow, actor: Actor) => Promise<void>) => {
    return async (actor: Actor, id: string): Promise<Task> => {
      const task = await find(actor, id);
      if (!isDone(task, action)) {
        if (!actionsOf(task).includes(action)) throw refusal(task, action);
        await perform(task, actor);
        await db.audit.append({ actor: actor.user, action: `task.${action}`, subject: id });
        context.changes.touch('task', id);
        if (task.imageId !== null) context.changes.touch('image', task.imageId);
      }
      return taskView(context, await find(actor, id));
    };
  };
  return {
    list: async (actor, query) => {
      const page = await db.tasks.list(query, ownerFilter(actor));
      return { ...page, items: page.items.map((row) => taskView(context, row)) };
    },
    get: async (actor, id) => taskView(context, await find(actor, id)),
    events: async (actor, id) => db.tasks.events((await find(actor, id)).id),
    pause: act('pause', (task) => pause(context, task)),
    resume: act('resume', (task) => resume(context, pulls, task)),
    cancel: act('cancel', (task, actor) => cancel(context, task, `Cancelled by ${actor.user}`)),
  };
}

/** Asking for what is so already succeeds. */
function isDone(task: TaskRow, action: TaskAction): boolean {
  if (action === 'cancel') return task.state === 'CANCELLED';
  if (action === 'pause') return task.state === 'PAUSED' && task.cause === 'user';
  return task.state === 'RUNNING';
}

function refusal(task: TaskRow, action: TaskAction): HawserError {
  const away = task.cause === 'client-away' ? ' It goes on by itself when its client sends again.' : '';
  return new HawserError('conflict', `A task that is ${task.state} cannot be asked to ${action}.${away}`, {
    details: { state: task.state, cause: task.cause },
  });
}

async function pause(context: Context, task: TaskRow): Promise<void> {
  const upload = await filling(context, task);
  const paused = await context.db.transaction(async (tx) => {
    if (upload !== undefined && !(await tx.move('uploads', upload.id, 'paused', { status: 'Paused' }))) return false;
    return tx.move('tasks', task.id, 'PAUSED', { status: 'Paused', cause: 'user' });
  });
  if (!paused) throw new HawserError('conflict', 'The task cannot be paused now; look at it again.');
  const live = upload && context.live.get(upload.id);
  if (live !== undefined) live.phase = 'other';
  if (upload !== undefined) touchUpload(context, upload);
  await relay(context, async () => {
    if (upload !== undefined) {
      await context.agents
        .of(upload.hostId)
        .call('pauseUpload', { uploadId: upload.id, generation: upload.generation });
    } else if (task.work !== null) await context.agents.of(task.work.hostId).call('pauseWork', { taskId: task.id });
  });
}

async function resume(context: Context, pulls: Pulls, task: TaskRow): Promise<void> {
  const upload = await filling(context, task);
  const resumed = await context.db.transaction(async (tx) => {
    if (upload !== undefined) await tx.move('uploads', upload.id, 'open', { from: ['paused'], status: '' });
    return tx.move('tasks', task.id, 'RUNNING', { status: statusOnResume(upload) });
  });
  if (!resumed) throw new HawserError('conflict', 'The task cannot be resumed now; look at it again.');
  if (upload !== undefined) {
    const live = context.live.get(upload.id);
    if (live !== undefined) live.bytesAt = context.now();
    touchUpload(context, upload);
  }
  await relay(context, async () => {
    if (upload !== undefined) {
      await context.agents
        .of(upload.hostId)
        .call('resumeUpload', { uploadId: upload.id, generation: upload.generation });
      const now = await context.db.uploads.find(upload.id);
      if (now !== undefined && now.source.kind !== 'client') await pulls.startNow(now);
    } else if (task.work !== null) await resumeWork(context, task, task.work.hostId);
  });
}

function statusOnResume(upload: UploadRow | undefined): string {
  if (upload === undefined) return '';
  return upload.source.kind === 'client' ? 'Waiting for bytes' : 'The host is asked to fetch on';
}

/** An agent that was restarted knows nothing of it: it begins anew. */
async function resumeWork(context: Context, task: TaskRow, hostId: string): Promise<void> {
  try {
    await context.agents.of(hostId).call('resumeWork', { taskId: task.id });
  } catch (error) {
    if (!isHawserError(error, 'not-found')) throw error;
    await startWork(context, task.id);
  }
}

async function cancel(context: Context, task: TaskRow, status: string): Promise<void> {
  const upload = await filling(context, task);
  if (upload !== undefined) {
    // A missing Copy would be begun again at once.
    const retry = upload.purpose === 'copy' ? { tries: 0, at: afterCancel(context.now()) } : undefined;
    await endUpload(context, upload, { to: 'cancelled', status, cause: 'user', image: 'deleted', retry });
  } else await cancelWork(context, task, status);
}

/** The Upload that the Task is about, while bytes are still to come. */
async function filling(context: Context, task: TaskRow): Promise<UploadRow | undefined> {
  if (task.uploadId === null || task.work !== null) return undefined;
  return context.db.uploads.find(task.uploadId);
}

/** What an unreachable agent missed it is told when it is back: the database says what is wanted. */
async function relay(context: Context, command: () => Promise<void>): Promise<void> {
  try {
    await command();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    context.log.warn({ event: 'agent.unreachable', error: String(error) });
  }
}
