import { HawserError } from '../../core/errors.ts';
import type { Actor, Image, Upload } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { removeMarked } from './copies-guard.ts';
import { endUploadIn } from './ending.ts';
import {
  checkQuota,
  checkSize,
  claimKey,
  insertInbound,
  KeyQueue,
  openOnAgent,
  pickStore,
  wholePlacement,
} from './opening.ts';
import type { ControlDb } from './ports.ts';
import type { BeginUpload } from './use-cases.ts';
import { touchUpload, uploadView, visible } from './views.ts';

/** Begins Uploads. Requests with the same idempotency key wait for each other. */
export function createBegin(context: Context): (actor: Actor, request: BeginUpload) => Promise<Upload> {
  const keys = new KeyQueue();
  return async (actor, request) => {
    checkSize(context, request.size);
    if (request.size !== undefined && request.dataSize !== undefined && request.dataSize > request.size) {
      throw new HawserError(
        'bad-request',
        `dataSize (${request.dataSize}) is the part of size (${request.size}) that is no zeros; it cannot be larger.`,
      );
    }
    return keys.run(actor.user, request.idempotencyKey, () => begin(context, actor, request));
  };
}

async function begin(context: Context, actor: Actor, request: BeginUpload): Promise<Upload> {
  const plan = await context.db.transaction((db) => record(context, db, actor, request));
  const upload = await context.db.uploads.find(plan.uploadId);
  if (upload === undefined) throw new HawserError('internal', 'An Upload vanished while it was begun.');
  if (plan.kind === 'known') return uploadView(context, upload);
  await openOnAgent(context, upload, request.imageId === undefined);
  if (request.imageId !== undefined) await removeMarked(context, upload.imageId);
  await context.db.audit.append({ actor: actor.user, action: 'upload.begin', subject: upload.id });
  context.log.info({
    event: 'upload.begun',
    uploadId: upload.id,
    size: upload.declaredSize,
    reserved: upload.reserved,
  });
  touchUpload(context, upload);
  return uploadView(context, upload);
}

type Plan = { readonly kind: 'made' | 'known'; readonly uploadId: string };

/** All rows of a new Upload, in the transaction that holds the Stores' locks; so nothing is promised twice. */
async function record(context: Context, tx: ControlDb, actor: Actor, request: BeginUpload): Promise<Plan> {
  const uploadId = context.randomId();
  const { idempotencyKey, digest, ...words } = request;
  const known = await claimKey(tx, { user: actor.user, key: idempotencyKey, digest, words }, uploadId);
  if (known !== undefined) return { kind: 'known', uploadId: known };
  const refill = request.imageId === undefined ? undefined : await lockFailed(tx, actor, request.imageId);
  const placement = wholePlacement(request.placement ?? refill?.placement);
  const reserved = Math.min(request.size ?? request.dataSize ?? 0, request.dataSize ?? request.size ?? 0);
  const store = await pickStore(context, tx, { reserve: reserved, placement, storeId: request.storeId });
  const owner = refill?.owner ?? actor.user;
  await checkQuota(context, tx, owner, reserved);
  const imageId = refill?.id ?? context.randomId();
  const declared = {
    name: request.name,
    format: request.format,
    declaredSize: request.size ?? null,
    expectedDigest: digest ?? null,
    uploadId,
    taskId: context.randomId(),
  };
  const source = { kind: 'client' } as const;
  if (refill === undefined) {
    await tx.images.insert({ id: imageId, owner, origin: 'upload', source, placement, ...declared });
  } else {
    await fillAgain(tx, refill, declared);
    if (request.placement !== undefined) await tx.images.setPlacement(imageId, request.placement);
  }
  await insertInbound(context, tx, {
    ...declared,
    imageId,
    owner,
    purpose: 'fill',
    source,
    task: { kind: 'upload', status: 'Waiting for the first bytes' },
    reserved,
    fingerprint: request.fingerprint ?? null,
    store,
    tries: 0,
  });
  return { kind: 'made', uploadId };
}

async function lockFailed(tx: ControlDb, actor: Actor, imageId: string): Promise<Image> {
  const image = visible(actor, await tx.images.lock(imageId), 'image');
  if (image.state === 'deleted') throw new HawserError('not-found', 'There is no such image; it was removed.');
  if (image.state === 'failed' && image.origin === 'upload') return image;
  throw new HawserError(
    'conflict',
    `Only a failed image that was uploaded can be uploaded again; "${image.name}" is ${image.state}.`,
    { details: { state: image.state } },
  );
}

async function fillAgain(
  tx: ControlDb,
  image: Image,
  declared: Parameters<ControlDb['images']['setFilling']>[1],
): Promise<void> {
  const status = 'Uploaded again';
  for (const upload of await tx.uploads.liveOf(image.id)) {
    await endUploadIn(tx, upload, { to: 'cancelled', status, cause: 'cancelled', image: 'failed' });
  }
  for (const copy of image.copies) await tx.move('copies', copy.id, 'removing', { status });
  await tx.images.setFilling(image.id, declared);
  await tx.move('images', image.id, 'in-progress', { status: '' });
}
