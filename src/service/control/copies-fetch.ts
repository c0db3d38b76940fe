import { HawserError } from '../../core/errors.ts';
import type { Actor, DeclaredFormat, Image, StoreRecord, UploadSource } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import type { Pulls } from './copies-pull.ts';
import { beginFetch } from './copies-tend.ts';
import { endUploadIn } from './ending.ts';
import { checkQuota, checkSize, insertInbound, pickStore, placeCopy } from './opening.ts';
import type { ControlDb, UploadRow } from './ports.ts';
import { visible } from './views.ts';

type Fetched = Exclude<UploadSource, { readonly kind: 'client' }>;

interface KnownContent {
  readonly size: number | null;
  readonly reserved: number;
  readonly format: DeclaredFormat;
}

/** What is known of the content before it is fetched. Bytes. Throws when it may not, or cannot, be fetched. */
export async function contentOf(context: Context, tx: ControlDb, actor: Actor, source: Fetched): Promise<KnownContent> {
  if (source.kind === 'url') {
    mustBeFetchable(context, source.url);
    return { size: null, reserved: 0, format: 'auto' };
  }
  const image = visible(actor, await tx.images.find(source.imageId), 'image');
  const ready = image.copies.filter((copy) => copy.state === 'ready');
  if (image.state !== 'ready' || image.size === null || ready.length === 0) {
    throw new HawserError('conflict', `Only a ready image can be cloned; "${image.name}" is ${image.state}.`);
  }
  checkSize(context, image.size);
  const reserved = Math.max(...ready.map((copy) => copy.storedSize ?? 0));
  return { size: image.size, reserved, format: image.format };
}

/** The agent looks at the address itself, at the moment it connects. */
function mustBeFetchable(context: Context, text: string): void {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.host === '') {
    throw new HawserError(
      'bad-request',
      `An image is downloaded from an http:// or https:// URL; this one is ${url === null ? 'none' : `${url.protocol}//`}.`,
    );
  }
  const refusal = context.urlRefusal?.(text);
  if (refusal !== undefined) throw refusal;
}

/** A download of which no Copy is left: its bytes, the very same, are fetched anew. */
export async function fetchLost(context: Context, pulls: Pulls, imageId: string): Promise<void> {
  const uploadId = await context.db.transaction(async (tx) => {
    const image = await tx.images.lock(imageId);
    if (image === undefined || image.state !== 'failed' || image.source.kind !== 'url') return undefined;
    if (!allGone(image)) return undefined;
    const reserved = storedBefore(image);
    const placed = await placeCopy(context, tx, { reserve: reserved, placement: image.placement });
    if (placed.kind === 'refused') {
      await tx.images.setStatus(
        imageId,
        `No copy is left, and it cannot be fetched again now. ${placed.error.message}`,
      );
      return undefined;
    }
    const why = 'Its copies were lost; it is fetched again';
    return begin(context, tx, image, { source: image.source, why, size: null, reserved, store: placed.store });
  });
  if (uploadId !== undefined) await beginFetch(context, pulls, uploadId);
  context.changes.touch('image', imageId);
}

/**
 * A person wants a failed download or clone once more, in its place. Returns the Upload that was made for it;
 * undefined when it is being fetched already. One that was ready once gets the very same bytes only. Throws
 * `conflict` for what is not failed, or came from a person: nobody but that one has the bytes.
 */
export async function fetchAgain(context: Context, actor: Actor, imageId: string): Promise<UploadRow | undefined> {
  const uploadId = await context.db.transaction(async (tx) => {
    const image = visible(actor, await tx.images.lock(imageId), 'image');
    if (image.state === 'deleted') throw new HawserError('not-found', 'There is no such image; it was removed.');
    const { source } = image;
    if (source.kind === 'client') {
      throw new HawserError(
        'conflict',
        `"${image.name}" was uploaded, and no host can fetch it. Upload it again with its imageId.`,
      );
    }
    if (image.state === 'ready') {
      throw new HawserError('conflict', `"${image.name}" is ready; only a failed image is fetched again.`);
    }
    if (image.state !== 'failed') return undefined;
    if (!allGone(image)) {
      throw new HawserError('conflict', `A copy of "${image.name}" is just being compared. Wait for that.`);
    }
    const { size, reserved: known } = await contentOf(context, tx, actor, source);
    const reserved = Math.max(known, storedBefore(image));
    const store = await pickStore(context, tx, { reserve: reserved, placement: image.placement });
    await checkQuota(context, tx, image.owner, reserved);
    const why = `Fetched again for ${actor.user}`;
    for (const upload of await tx.uploads.liveOf(imageId)) {
      await endUploadIn(tx, upload, { to: 'cancelled', status: why, cause: 'cancelled', image: 'failed' });
    }
    // What never was good makes room; of what was, something may come back.
    const worthless = image.readyAt === null ? image.copies.filter((copy) => copy.state === 'failed') : [];
    for (const copy of worthless) await tx.move('copies', copy.id, 'removing', { status: why });
    return begin(context, tx, image, { source, why, size, reserved, store });
  });
  return uploadId === undefined ? undefined : context.db.uploads.find(uploadId);
}

function allGone(image: Image): boolean {
  return image.copies.every((copy) => copy.state === 'failed' || copy.state === 'removing');
}

function treeOf({ digests }: Image) {
  return digests.find((digest) => digest.algorithm === 'tree-sha256');
}

function storedBefore(image: Image): number {
  return Math.max(0, ...image.copies.map((copy) => copy.storedSize ?? 0));
}

interface Begun {
  readonly source: Fetched;
  /** For people. */
  readonly why: string;
  readonly size: number | null;
  readonly reserved: number;
  readonly store: StoreRecord;
}

async function begin(
  context: Context,
  tx: ControlDb,
  image: Image,
  { source, why, size, reserved, store }: Begun,
): Promise<string> {
  const ids = { uploadId: context.randomId(), taskId: context.randomId() };
  await tx.images.setFetching(image.id, ids);
  await tx.move('images', image.id, 'in-progress', { status: `${why}.` });
  await insertInbound(context, tx, {
    ...ids,
    imageId: image.id,
    owner: image.owner,
    purpose: 'fill',
    source,
    task: { kind: source.kind === 'url' ? 'download' : 'clone', status: why },
    declaredSize: size,
    reserved,
    format: image.format,
    // What was good once is the very same for ever; a digest of what was refused says nothing.
    expectedDigest: (image.readyAt === null ? undefined : treeOf(image)) ?? image.expectedDigest,
    fingerprint: null,
    store,
    tries: 0,
  });
  return ids.uploadId;
}
