import { HawserError } from '../../core/errors.ts';
import type { Actor, Image } from '../../core/nouns.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import type { CopyPlace } from './copy-ports.ts';
import { endUpload, endUploadIn, removeBytes, settle } from './ending.ts';
import type { Tickets } from './tickets.ts';
import type { CopySource, ImageUseCases } from './use-cases.ts';
import { imageView, ownerFilter, touchPlace, visible } from './views.ts';
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
      if (placement !== undefined) context.tend();
      context.changes.touch('image', id);
      return imageView(context, await find(actor, id));
    },
    remove: (actor, id) => remove(context, tickets, actor, id),
    source: async (actor, id) => sourceOf(context, await find(actor, id)),
    access: async (actor, id) => {
      const image = await find(actor, id);
      let unheard: unknown;
      for (const { hostId, storeId, key, fingerprint } of await readable(context, image)) {
        try {
          const subject = { kind: 'copy', storeId, key, filename: image.name, fingerprint } as const;
          return await tickets.install(hostId, subject, ['read']);
        } catch (error) {
          // Another host may have it too.
          if (!isUnreachable(error)) throw error;
          unheard ??= error;
        }
      }
      throw unheard;
    },
    verify: (actor, id) => beginWork(context, actor, id, { kind: 'verify' }),
    digest: (actor, id, algorithm) => beginWork(context, actor, id, { kind: 'digest', algorithm }),
  };
}

function shown(actor: Actor, found: Image | undefined): Image {
  return visible(actor, found?.state === 'deleted' ? undefined : found, 'image');
}

async function sourceOf(context: Context, image: Image): Promise<CopySource> {
  const [copy] = await readable(context, image);
  if (copy === undefined) throw new HawserError('internal', 'There was a ready Copy, and now there is none.');
  const { hostId, storeId, key, fingerprint } = copy;
  return { image: imageView(context, image), hostId, storeId, key, fingerprint };
}

/** Ready Copies, the best to read from first: heard, known to this control, in this very process. At least one. */
async function readable(context: Context, image: Image): Promise<readonly CopyPlace[]> {
  const ready = (await context.db.copies.of(image.id)).filter((copy) => copy.state === 'ready');
  if (image.state === 'ready' && ready.length > 0) {
    const worth = (copy: CopyPlace) =>
      (copy.online ? 4 : 0) + (context.agents.has(copy.hostId) ? 2 : 0) + (context.agents.isLocal(copy.hostId) ? 1 : 0);
    return ready.sort((a, b) => worth(b) - worth(a));
  }
  const why = image.status === '' ? '' : ` (${image.status})`;
  if (image.state === 'ready') {
    throw new HawserError(
      'unavailable',
      `No copy of "${image.name}" can be read now${why}. Bring back a host that keeps one.`,
    );
  }
  throw new HawserError(
    'conflict',
    `The image "${image.name}" is ${image.state}${why}; only a ready one can be read.`,
    { details: { state: image.state } },
  );
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
    for (const live of await tx.uploads.liveOf(id)) {
      await endUploadIn(tx, live, { to: 'cancelled', status, cause: 'user', image: 'deleted' });
    }
    for (const copy of locked?.copies ?? []) await tx.move('copies', copy.id, 'removing', { status });
    return tx.move('images', id, 'deleted', { status });
  });
  if (removed || image.state !== 'deleted') {
    await db.audit.append({ actor: actor.user, action: 'image.remove', subject: id, detail: { name: image.name } });
  }
  for (const task of await db.tasks.liveOf(id)) await cancelWork(context, task, status);
  for (const owed of await db.uploads.withDuty()) if (owed.imageId === id) await settle(context, owed);
  context.changes.touch('image', id);
  for (const copy of (await db.images.find(id))?.copies ?? []) {
    const hostId = await db.images.hostOf(copy.storeId);
    if (copy.state !== 'removing' || hostId === undefined) continue;
    touchPlace(context, { storeId: copy.storeId, hostId });
    await tickets.revoke(hostId, copy.key);
    await removeBytes(context, { ...copy, hostId });
  }
}
