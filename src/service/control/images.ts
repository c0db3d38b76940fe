import { HawserError } from '../../core/errors.ts';
import type { Actor, Image } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { endUpload, removeBytes } from './ending.ts';
import type { Tickets } from './tickets.ts';
import type { CopySource, ImageUseCases } from './use-cases.ts';
import { imageView, ownerFilter, visible } from './views.ts';
import { beginWork, cancelWork } from './work.ts';

export function createImages(context: Context, tickets: Tickets): ImageUseCases {
  const { db } = context;
  const find = async (actor: Actor, id: string) => shown(actor, await db.images.find(id));
  return {
    list: async (actor, query) => {
      const page = await db.images.list(query, ownerFilter(actor));
      return { ...page, items: page.items.map((image) => imageView(context, image)) };
    },
    get: async (actor, id) => imageView(context, await find(actor, id)),
    change: async (actor, id, { name, placement }) => {
      const before = await find(actor, id);
      if (name !== undefined) await db.images.rename(id, name);
      if (placement !== undefined) await db.images.setPlacement(id, placement);
      await db.audit.append({
        actor: actor.user,
        action: 'image.change',
        subject: id,
        detail: {
          ...(name === undefined ? {} : { from: before.name, to: name }),
          ...(placement === undefined ? {} : { placement }),
        },
      });
      context.changes.touch('image', id);
      return imageView(context, await find(actor, id));
    },
    remove: (actor, id) => remove(context, tickets, actor, id),
    source: async (actor, id) => sourceOf(context, await find(actor, id)),
    access: async (actor, id) => {
      const { hostId, storeId, key, image } = await sourceOf(context, await find(actor, id));
      return tickets.install(hostId, { kind: 'copy', storeId, key, filename: image.name }, ['read']);
    },
    verify: (actor, id) => beginWork(context, actor, id, { kind: 'verify' }),
    digest: (actor, id, algorithm) => beginWork(context, actor, id, { kind: 'digest', algorithm }),
  };
}

function shown(actor: Actor, found: Image | undefined): Image {
  return visible(actor, found?.state === 'deleted' ? undefined : found, 'image');
}

async function sourceOf(context: Context, image: Image): Promise<CopySource> {
  const copy = image.state === 'ready' ? image.copies.find((one) => one.state === 'ready') : undefined;
  if (copy === undefined) {
    const why = image.status === '' ? '' : ` (${image.status})`;
    throw new HawserError(
      'conflict',
      `The image "${image.name}" is ${image.state}${why}; only a ready one can be read.`,
      {
        details: { state: image.state },
      },
    );
  }
  const hostId = await context.db.images.hostOf(copy.storeId);
  if (hostId === undefined) throw new HawserError('internal', 'A Copy lies on a Store that is not known.');
  return { image: imageView(context, image), hostId, storeId: copy.storeId, key: copy.key };
}

/** Each step may be repeated: a removal that was cut off goes on when it is asked for again, or at the next sweep. */
async function remove(context: Context, tickets: Tickets, ...[actor, id]: [Actor, string]): Promise<void> {
  const { db } = context;
  const image = visible(actor, await db.images.find(id), 'image');
  const status = `Removed by ${actor.user}`;
  const upload = image.uploadId === null ? undefined : await db.uploads.find(image.uploadId);
  if (upload !== undefined)
    await endUpload(context, upload, { to: 'cancelled', status, cause: 'user', image: 'deleted' });
  const removed = await db.transaction(async (tx) => {
    const locked = await tx.images.lock(id);
    for (const copy of locked?.copies ?? []) await tx.move('copies', copy.id, 'removing', { status });
    return tx.move('images', id, 'deleted', { status });
  });
  if (removed || image.state !== 'deleted') {
    await db.audit.append({ actor: actor.user, action: 'image.remove', subject: id, detail: { name: image.name } });
  }
  for (const task of await db.tasks.liveOf(id)) await cancelWork(context, task, status);
  context.changes.touch('image', id);
  for (const copy of (await db.images.find(id))?.copies ?? []) {
    const hostId = await db.images.hostOf(copy.storeId);
    if (copy.state !== 'removing' || hostId === undefined) continue;
    await tickets.revoke(hostId, copy.key);
    await removeBytes(context, { ...copy, hostId });
  }
}
