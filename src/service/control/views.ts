import { HawserError } from '../../core/errors.ts';
import type { Actor, Copy, Image, Task, TaskAction, Upload } from '../../core/nouns.ts';
import { isTerminal, taskStates } from '../../core/states.ts';
import type { ChangedKind } from './changes.ts';
import type { Context } from './context.ts';
import { hostView, storeView } from './leaving.ts';
import type { TaskRow, UploadRow } from './ports.ts';
import type { Change } from './use-cases.ts';

/** What people see: the rows with the live numbers on top. */
export function uploadView(context: Context, row: UploadRow): Upload {
  const { hostId: _host, duty: _duty, fromCopyId: _from, ...upload } = row;
  // Once it is sealed the row knows better: reports come a moment later.
  const live = row.state === 'sealed' ? undefined : context.live.get(row.id);
  if (live === undefined) return upload;
  const declaredSize = upload.declaredSize ?? live.declaredSize;
  return { ...upload, declaredSize, receivedBytes: live.receivedBytes, zeroBytes: live.zeroBytes };
}

export function imageView(context: Context, image: Image): Image {
  const arrives = (copy: Copy) => copy.state === 'pending' || copy.state === 'in-progress';
  if (!image.copies.some(arrives)) return image;
  const filling = image.uploadId === null ? undefined : context.live.get(image.uploadId);
  const declaredSize = image.declaredSize ?? filling?.declaredSize ?? null;
  const copies = image.copies.map((copy) => {
    const live = arrives(copy) ? context.live.ofCopy(copy.id) : undefined;
    return live === undefined ? copy : { ...copy, doneBytes: live.receivedBytes };
  });
  return { ...image, declaredSize, copies };
}

export function taskView(context: Context, row: TaskRow): Task {
  const { generation: _generation, work, forget: _forget, ...task } = row;
  const follows = work === null && !isTerminal(taskStates, row.state);
  const live = row.uploadId !== null && follows ? context.live.get(row.uploadId) : undefined;
  return {
    ...task,
    doneBytes: live?.receivedBytes ?? row.doneBytes,
    // A server tells how long a download is only when it has begun.
    totalBytes: row.totalBytes ?? live?.declaredSize ?? null,
    rate: live !== undefined && row.state === 'RUNNING' ? context.live.rate(live.uploadId, context.now()) : null,
    actions: actionsOf(row),
  };
}

/** What was paused because its client went away goes on when bytes come; nobody can resume it from here. */
export function actionsOf(row: TaskRow): readonly TaskAction[] {
  if (isTerminal(taskStates, row.state)) return [];
  if (row.state === 'RUNNING' || row.state === 'INITIATED') return ['pause', 'cancel'];
  return row.cause === 'client-away' ? ['cancel'] : ['resume', 'cancel'];
}

/** Hides what the actor may not see behind `not-found`. */
export function visible<T extends { readonly owner: string }>(actor: Actor, thing: T | undefined, noun: string): T {
  if (thing !== undefined && (actor.role === 'admin' || thing.owner === actor.user)) return thing;
  throw new HawserError('not-found', `There is no such ${noun}; it may have been removed.`);
}

/** Whose things a list shows: undefined is everybody's. */
export function ownerFilter(actor: Actor): string | undefined {
  return actor.role === 'admin' ? undefined : actor.user;
}

/** Reads what a change is about. */
export async function loadChange(
  context: Context,
  kind: ChangedKind,
  id: string,
): Promise<{ readonly change: Change; readonly owner: string | undefined } | undefined> {
  if (kind === 'image') {
    const image = await context.db.images.find(id);
    if (image === undefined) return undefined;
    const change: Change =
      image.state === 'deleted' ? { kind: 'image-deleted', id } : { kind, image: imageView(context, image) };
    return { change, owner: image.owner };
  }
  if (kind === 'upload') {
    const row = await context.db.uploads.find(id);
    return row && { change: { kind, upload: uploadView(context, row) }, owner: row.owner };
  }
  if (kind === 'task') {
    const row = await context.db.tasks.find(id);
    return row && { change: { kind, task: taskView(context, row) }, owner: row.owner };
  }
  if (kind === 'host') {
    const host = await context.db.hosts.find(id);
    return host && { change: { kind, host: await hostView(context, host) }, owner: undefined };
  }
  const store = await context.db.stores.find(id);
  return store && { change: { kind, store: await storeView(context, store) }, owner: undefined };
}

/** Tells that an Upload and all that hangs on it changed. */
export function touchUpload(
  context: Context,
  upload: Pick<UploadRow, 'id' | 'imageId' | 'taskId' | 'storeId' | 'hostId'>,
): void {
  context.changes.touch('upload', upload.id);
  context.changes.touch('image', upload.imageId);
  context.changes.touch('task', upload.taskId);
  touchPlace(context, upload);
}

/** Tells that what lies on a Store changed, and with it what its Host has. */
export function touchPlace(context: Context, { storeId, hostId }: Pick<UploadRow, 'storeId' | 'hostId'>): void {
  context.changes.touch('store', storeId);
  context.changes.touch('host', hostId);
}
