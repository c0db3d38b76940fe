import { HawserError } from '../../core/errors.ts';
import type { Actor, Image } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { contentOf, fetchAgain } from './copies-fetch.ts';
import { markRemoving, removeMarked } from './copies-guard.ts';
import type { Pulls } from './copies-pull.ts';
import { beginFetch, tryCopy } from './copies-tend.ts';
import { checkQuota, claimKey, insertInbound, KeyQueue, openOnAgent, pickStore, wholePlacement } from './opening.ts';
import type { ControlDb } from './ports.ts';
import type { Tickets } from './tickets.ts';
import type { CopyUseCases, CreateImage } from './use-cases.ts';
import { imageView, taskView, touchUpload, visible } from './views.ts';

export interface CopyParts {
  readonly pulls: Pulls;
  readonly tickets: Tickets;
}

export function createCopies(context: Context, { pulls, tickets }: CopyParts): CopyUseCases {
  const { db } = context;
  const keys = new KeyQueue();
  return {
    create: (actor, request) =>
      keys.run(actor.user, request.idempotencyKey, () => create(context, pulls, actor, request)),
    add: async (actor, imageId, storeId) => {
      const { taskId, uploadId } = await db.transaction((tx) => addIn(context, tx, actor, { imageId, storeId }));
      if (uploadId !== undefined) {
        await db.audit.append({ actor: actor.user, action: 'copy.add', subject: imageId, detail: { storeId } });
        await beginFetch(context, pulls, uploadId);
        context.changes.touch('image', imageId);
      }
      return taskView(context, visible(actor, await db.tasks.find(taskId), 'task'));
    },
    fetch: async (actor, imageId) => {
      const upload = await fetchAgain(context, actor, imageId);
      if (upload !== undefined) {
        await openOnAgent(context, upload, false);
        pulls.start(upload);
        await db.audit.append({ actor: actor.user, action: 'image.fetch', subject: imageId });
        await removeMarked(context, imageId);
        touchUpload(context, upload);
      }
      return imageView(context, visible(actor, await db.images.find(imageId), 'image'));
    },
    cleanup: async (actor, imageId, copyIds) => {
      await db.transaction((tx) => cleanupIn(tx, actor, imageId, copyIds));
      await db.audit.append({ actor: actor.user, action: 'copy.cleanup', subject: imageId, detail: { copyIds } });
      for (const copy of await db.copies.of(imageId)) {
        if (copyIds.includes(copy.id)) await tickets.revoke(copy.hostId, copy.key);
      }
      await removeMarked(context, imageId);
      return imageView(context, visible(actor, await db.images.find(imageId), 'image'));
    },
  };
}

async function create(context: Context, pulls: Pulls, actor: Actor, request: CreateImage): Promise<Image> {
  const { db } = context;
  const plan = await db.transaction((tx) => record(context, tx, actor, request));
  const upload = await db.uploads.find(plan.uploadId);
  if (upload === undefined) throw new HawserError('internal', 'An Upload vanished while it was begun.');
  if (plan.kind === 'made') {
    await openOnAgent(context, upload, true);
    pulls.start(upload);
    await db.audit.append({ actor: actor.user, action: 'image.create', subject: upload.imageId });
    context.log.info({ event: 'image.create', imageId: upload.imageId, source: upload.source.kind });
    touchUpload(context, upload);
  }
  return imageView(context, visible(actor, await db.images.find(upload.imageId), 'image'));
}

type Plan = { readonly kind: 'made' | 'known'; readonly uploadId: string };

async function record(context: Context, tx: ControlDb, actor: Actor, request: CreateImage): Promise<Plan> {
  const uploadId = context.randomId();
  const { idempotencyKey, digest, ...words } = request;
  const known = await claimKey(tx, { user: actor.user, key: idempotencyKey, digest, words }, uploadId);
  if (known !== undefined) return { kind: 'known', uploadId: known };
  const from = await contentOf(context, tx, actor, request.source);
  const placement = wholePlacement(request.placement);
  const { reserved, size } = from;
  const store = await pickStore(context, tx, { reserve: reserved, placement, storeId: request.storeId });
  await checkQuota(context, tx, actor.user, reserved);
  const imageId = context.randomId();
  const declared = {
    name: request.name,
    format: request.format === 'auto' ? from.format : request.format,
    declaredSize: size,
    expectedDigest: digest ?? null,
    uploadId,
    taskId: context.randomId(),
  };
  const { source } = request;
  const kind = source.kind === 'url' ? 'download' : 'clone';
  await tx.images.insert({ id: imageId, owner: actor.user, origin: kind, source, placement, ...declared });
  await insertInbound(context, tx, {
    ...declared,
    imageId,
    owner: actor.user,
    purpose: 'fill',
    source,
    task: { kind, status: 'The host is asked to fetch it' },
    reserved,
    fingerprint: null,
    store,
    tries: 0,
  });
  return { kind: 'made', uploadId };
}

interface Added {
  readonly taskId: string;
  /** Set when it was begun now. */
  readonly uploadId?: string | undefined;
}

async function addIn(
  context: Context,
  tx: ControlDb,
  actor: Actor,
  { imageId, storeId }: { readonly imageId: string; readonly storeId: string | undefined },
): Promise<Added> {
  const image = visible(actor, await tx.images.lock(imageId), 'image');
  const copies = await tx.copies.of(imageId);
  const live = (await tx.uploads.liveOf(imageId)).filter((upload) => upload.purpose === 'copy');
  const known = live.find((upload) => storeId === undefined || upload.storeId === storeId);
  if (known !== undefined) return { taskId: known.taskId };
  if (image.state !== 'ready' || !copies.some((copy) => copy.state === 'ready')) {
    throw new HawserError(
      'conflict',
      `Only a ready image with a ready copy can be copied; "${image.name}" is ${image.state}.`,
    );
  }
  const made = await tryCopy(context, tx, { image, copies, storeId, extra: true });
  if (!('uploadId' in made)) throw made.error;
  const upload = await tx.uploads.find(made.uploadId);
  if (upload === undefined) throw new HawserError('internal', 'An Upload vanished while it was begun.');
  return { taskId: upload.taskId, uploadId: made.uploadId };
}

async function cleanupIn(tx: ControlDb, actor: Actor, imageId: string, copyIds: readonly string[]): Promise<void> {
  const image = visible(actor, await tx.images.lock(imageId), 'image');
  if (image.state === 'deleted') throw new HawserError('not-found', 'There is no such image; it was removed.');
  const known = await tx.copies.known(imageId, copyIds);
  if (copyIds.some((id) => !known.has(id))) {
    throw new HawserError('not-found', `"${image.name}" never had such a copy; look at its copies again.`);
  }
  // Those that are gone, or going, need nothing more: the same cleanup again succeeds.
  const staying = image.copies.filter((copy) => copyIds.includes(copy.id) && copy.state !== 'removing');
  await markRemoving(tx, image, staying, `Removed by ${actor.user}`);
}
