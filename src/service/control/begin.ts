import { createHash } from 'node:crypto';
import { formatDigest } from '../../core/digest.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { Actor, Image, StoreRecord, Upload } from '../../core/nouns.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import { endUpload } from './ending.ts';
import type { ControlDb, UploadRow } from './ports.ts';
import type { BeginUpload } from './use-cases.ts';
import { touchUpload, uploadView, visible } from './views.ts';

/** Begins Uploads. Requests with the same idempotency key wait for each other. */
export function createBegin(context: Context): (actor: Actor, request: BeginUpload) => Promise<Upload> {
  const running = new Map<string, Promise<unknown>>();
  return async (actor, request) => {
    check(context, request);
    if (request.idempotencyKey === undefined) return begin(context, actor, request);
    const key = `${actor.user}\n${request.idempotencyKey}`;
    for (let earlier = running.get(key); earlier !== undefined; earlier = running.get(key)) await earlier;
    const mine = begin(context, actor, request);
    const settled = mine.then(
      () => running.delete(key),
      () => running.delete(key),
    );
    running.set(key, settled);
    return mine;
  };
}

function check(context: Context, request: BeginUpload): void {
  const { maxSize } = context.config.uploads;
  if (maxSize !== null && (request.size ?? 0) > maxSize) {
    throw new HawserError(
      'too-large',
      `At most ${maxSize} bytes are accepted here (uploads.maxSize); this one has ${request.size}.`,
      { details: { maxSize, size: request.size } },
    );
  }
  if (request.size !== undefined && request.dataSize !== undefined && request.dataSize > request.size) {
    throw new HawserError(
      'bad-request',
      `dataSize (${request.dataSize}) is the part of size (${request.size}) that is no zeros; it cannot be larger.`,
    );
  }
}

async function begin(context: Context, actor: Actor, request: BeginUpload): Promise<Upload> {
  const plan = await context.db.transaction((db) => record(context, db, actor, request));
  const upload = await context.db.uploads.find(plan.uploadId);
  if (upload === undefined) throw new HawserError('internal', 'An Upload vanished while it was begun.');
  if (plan.kind === 'known') return uploadView(context, upload);
  await openOnAgent(context, upload, request.imageId !== undefined);
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
async function record(context: Context, db: ControlDb, actor: Actor, request: BeginUpload): Promise<Plan> {
  const { randomId } = context;
  const uploadId = randomId();
  const known = await claim(db, actor, request, uploadId);
  if (known !== undefined) return { kind: 'known', uploadId: known };
  const refill = request.imageId === undefined ? undefined : await lockFailed(db, actor, request.imageId);
  const reserved = Math.min(request.size ?? request.dataSize ?? 0, request.dataSize ?? request.size ?? 0);
  const store = await pickStore(context, db, reserved, request.storeId);
  // The Stores' locks are held: of two that begin at once, the second one sees the first.
  await checkQuota(context, db, refill?.owner ?? actor.user, reserved);
  const imageId = refill?.id ?? randomId();
  const taskId = randomId();
  const copyId = randomId();
  const declared = {
    name: request.name,
    format: request.format,
    declaredSize: request.size ?? null,
    expectedDigest: request.digest ?? null,
    uploadId,
    taskId,
  };
  if (refill === undefined) {
    const placement = { minCopies: 1, storeTags: [], hostTags: [], ...request.placement };
    const source = { kind: 'client' } as const;
    await db.images.insert({ id: imageId, owner: actor.user, origin: 'upload', source, placement, ...declared });
  }
  if (refill !== undefined) await fillAgain(db, refill, declared);
  const owner = refill?.owner ?? actor.user;
  await db.images.insertCopy({ id: copyId, imageId, storeId: store.id, key: copyId });
  await db.uploads.insert({
    id: uploadId,
    imageId,
    copyId,
    taskId,
    generation: 1,
    purpose: 'fill',
    source: { kind: 'client' },
    declaredSize: declared.declaredSize,
    reserved,
    format: request.format,
    expectedDigest: declared.expectedDigest,
    fingerprint: request.fingerprint ?? null,
    storeId: store.id,
    key: copyId,
    owner,
    expireAfterSeconds: context.config.uploads.expireAfterSeconds,
  });
  const task = { id: taskId, kind: 'upload', status: 'Waiting for the first bytes', imageId, uploadId } as const;
  await db.tasks.insert({ ...task, totalBytes: declared.declaredSize, work: null, owner });
  return { kind: 'made', uploadId };
}

/** The Upload that this key stands for already, if any. */
async function claim(db: ControlDb, actor: Actor, request: BeginUpload, uploadId: string): Promise<string | undefined> {
  if (request.idempotencyKey === undefined) return undefined;
  const { idempotencyKey, digest, ...rest } = request;
  const said = Object.entries({ ...rest, digest: digest && formatDigest(digest) })
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const requestHash = createHash('sha256').update(JSON.stringify(said)).digest('hex');
  const found = await db.uploads.claimKey({ owner: actor.user, key: idempotencyKey, requestHash, uploadId });
  if (found === 'claimed') return undefined;
  if (found.requestHash === requestHash) return found.uploadId;
  throw new HawserError(
    'conflict',
    'This idempotency key was used for another upload request; use a new key for a new upload.',
    { details: { uploadId: found.uploadId } },
  );
}

async function lockFailed(db: ControlDb, actor: Actor, imageId: string): Promise<Image> {
  const image = visible(actor, await db.images.lock(imageId), 'image');
  if (image.state === 'deleted') throw new HawserError('not-found', 'There is no such image; it was removed.');
  if (image.state === 'failed' && image.origin === 'upload') return image;
  throw new HawserError(
    'conflict',
    `Only a failed image that was uploaded can be uploaded again; "${image.name}" is ${image.state}.`,
    { details: { state: image.state } },
  );
}

async function fillAgain(
  db: ControlDb,
  image: Image,
  declared: Parameters<ControlDb['images']['setFilling']>[1],
): Promise<void> {
  for (const copy of image.copies) await db.move('copies', copy.id, 'removing', { status: 'Uploaded again' });
  await db.images.setFilling(image.id, declared);
  await db.move('images', image.id, 'in-progress', { status: '' });
}

async function pickStore(
  context: Context,
  db: ControlDb,
  reserve: number,
  storeId: string | undefined,
): Promise<StoreRecord> {
  const all = await db.stores.lockAll();
  const wanted = storeId === undefined ? all : all.filter((store) => store.id === storeId);
  if (storeId !== undefined && wanted.length === 0) {
    throw new HawserError('not-found', 'There is no such store; see the list of stores.');
  }
  const usable = wanted.filter(
    (store) => store.enabled && store.state === 'online' && context.agents.has(store.hostId),
  );
  if (usable.length === 0) {
    const why = wanted.map((store) => `${store.name}: ${store.enabled ? store.state : 'disabled'}`).join(', ');
    throw new HawserError(
      'unavailable',
      `No store can take an upload now (${why || 'there is none'}). Enable one or bring its host back.`,
    );
  }
  const roomy = usable.filter((store) => store.free - store.reserved >= reserve);
  const picked = roomy[Math.floor(context.chance() * roomy.length)];
  if (picked !== undefined) return picked;
  const room = usable.map((store) => ({ store: store.name, free: Math.max(0, store.free - store.reserved) }));
  throw new HawserError(
    'store-full',
    `${reserve} bytes are wanted; free are ${room.map((one) => `${one.free} on ${one.store}`).join(', ')}. Remove images or add space.`,
    { details: { wanted: reserve, room } },
  );
}

async function checkQuota(context: Context, db: ControlDb, owner: string, wanted: number): Promise<void> {
  const quota = context.config.limits.userQuota;
  if (quota === null) return;
  const taken = await db.images.takenBy(owner);
  if (taken + wanted <= quota) return;
  throw new HawserError(
    'quota-exceeded',
    `${wanted} bytes are wanted; the images of ${owner} take ${taken} of the ${quota} bytes that one user may have. Remove images, or ask for a larger quota.`,
    { details: { wanted, taken, quota } },
  );
}

/** Idempotent by id; used again for an Upload that its agent lost before any byte came. */
export async function callOpen(context: Context, upload: UploadRow): Promise<void> {
  const { limits } = context.config;
  await context.agents.of(upload.hostId).call('openUpload', {
    uploadId: upload.id,
    generation: upload.generation,
    storeId: upload.storeId,
    key: upload.key,
    declaredSize: upload.declaredSize,
    maxSize: context.config.uploads.maxSize,
    reserve: upload.reserved,
    format: upload.format,
    rateLimit: { task: limits.taskRate, user: limits.userRate, userId: upload.owner },
    digests:
      upload.expectedDigest === null || upload.expectedDigest.algorithm === 'tree-sha256'
        ? []
        : [upload.expectedDigest.algorithm],
  });
}

/** Nothing of an Upload that its agent did not open stays, but why. */
async function openOnAgent(context: Context, upload: UploadRow, refill: boolean): Promise<void> {
  try {
    await callOpen(context, upload);
  } catch (error) {
    const reason = toHawserError(error);
    const gone = isUnreachable(error) && !refill;
    await endUpload(context, upload, {
      to: 'failed',
      status: reason.message,
      cause: reason.code,
      image: gone ? 'deleted' : 'failed',
    });
    throw reason;
  }
}
