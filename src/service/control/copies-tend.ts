import { isHawserError, toHawserError } from '../../core/errors.ts';
import { removalRefusal } from '../../core/guards.ts';
import type { Image } from '../../core/nouns.ts';
import { copyStoreTitle } from '../../core/store-title.ts';
import type { Context } from './context.ts';
import { markRemoving, removeMarked } from './copies-guard.ts';
import type { Pulls } from './copies-pull.ts';
import type { CopyPlace } from './copy-ports.ts';
import { checkQuota, insertInbound, openAgain, placeCopy } from './opening.ts';
import type { ControlDb } from './ports.ts';
import { touchPlace } from './views.ts';

/** What a look at one Image led to. */
interface Tended {
  /** A new Copy was begun. */
  readonly uploadId?: string | undefined;
  /** Copies were marked as going. */
  readonly removed: boolean;
  /** Places that tell why they are not empty yet, and that reason is another one now. */
  readonly stuck?: readonly CopyPlace[] | undefined;
}

/**
 * Does the next thing that one ready Image needs, under its lock: a missing Copy is begun (one at a time),
 * then what is damaged or lies on what is emptied goes, as far as the guard lets it.
 */
export async function tendImage(context: Context, pulls: Pulls, imageId: string): Promise<void> {
  const { db } = context;
  const done = await db.transaction(async (tx): Promise<Tended> => {
    const image = await tx.images.lock(imageId);
    if (image === undefined || image.state !== 'ready') return { removed: false };
    const copies = await tx.copies.of(imageId);
    const spare = await removeSpare(tx, image, copies);
    const next = await missing(context, tx, image, copies);
    if (next.text !== image.status) await tx.images.setStatus(imageId, next.text);
    const stuck = next.text === image.status ? [] : copies.filter((copy) => copy.evicting);
    return { removed: spare || next.removed === true, uploadId: next.uploadId, stuck };
  });
  for (const copy of done.stuck ?? []) touchPlace(context, copy);
  if (done.removed) await removeMarked(context, imageId);
  if (done.uploadId !== undefined) await beginFetch(context, pulls, done.uploadId);
  context.changes.touch('image', imageId);
}

/**
 * Has the agent open it and fetch. What it refuses is recorded with the Copy and tried again later. When it does not
 * answer it may have opened it: the Upload stays, and is met by its id when the agent is heard again.
 */
export async function beginFetch(context: Context, pulls: Pulls, uploadId: string): Promise<void> {
  const { db, log } = context;
  const upload = await db.uploads.find(uploadId);
  if (upload === undefined) return;
  try {
    await openAgain(context, upload);
  } catch (error) {
    if (!isHawserError(error)) throw error;
    log.warn({ event: 'copy.unopened', uploadId, code: error.code });
    await db.tasks.setStatus(upload.taskId, 'Waiting for its host, which did not answer', error.code);
    touchPlace(context, upload);
    return;
  }
  if ((await db.uploads.find(uploadId))?.state !== 'open') return;
  touchPlace(context, upload);
  log.info({ event: 'copy.begun', uploadId, purpose: upload.purpose, storeId: upload.storeId });
  pulls.start(upload);
}

const counts = (copy: CopyPlace) => copy.state === 'ready' && !copy.evicting;
const arrives = (copy: CopyPlace) => copy.state === 'pending' || copy.state === 'in-progress';

/**
 * Copies that are damaged, or lie on what is emptied, once there are enough good ones elsewhere. Each passes
 * the guard by itself; what it keeps, stays.
 */
async function removeSpare(tx: ControlDb, image: Image, copies: readonly CopyPlace[]): Promise<boolean> {
  const good = copies.filter((copy) => counts(copy) && copy.online).length;
  if (good < Math.max(1, image.placement.minCopies)) return false;
  const inUse = await tx.copies.inUse(image.id);
  let now = image;
  let removed = false;
  for (const copy of copies) {
    const leaves = copy.evicting && (copy.state === 'ready' || copy.state === 'unknown');
    if (!leaves && !(copy.state === 'failed' && !isRepairable(copy, copies))) continue;
    if (removalRefusal(now, new Set([copy.id]), inUse) !== undefined) continue;
    await markRemoving(tx, now, [copy], leaves ? `Moved off ${copyStoreTitle(copy)}` : copy.status);
    now = { ...now, copies: now.copies.map((one) => (one.id === copy.id ? { ...one, state: 'removing' } : one)) };
    removed = true;
  }
  return removed;
}

/** A damaged Copy is made again where it lies, unless that was done, or nothing may come there. */
function isRepairable(failed: CopyPlace, copies: readonly CopyPlace[]): boolean {
  const beside = copies.some((copy) => copy.storeId === failed.storeId && copy.state === 'ready');
  return !beside && failed.online && !failed.evicting;
}

interface Missing {
  readonly uploadId?: string | undefined;
  /** For people: why one is missing still; empty: none is. */
  readonly text: string;
  /** A damaged one had to make room. */
  readonly removed?: boolean | undefined;
}

async function missing(context: Context, tx: ControlDb, image: Image, copies: readonly CopyPlace[]): Promise<Missing> {
  const wanted = image.placement.minCopies;
  const good = copies.filter(counts).length;
  const repair = copies.find((copy) => copy.state === 'failed' && isRepairable(copy, copies));
  const coming = copies.filter(arrives).length;
  const short = good < wanted ? `${good} of ${wanted} copies are good. ` : '';
  if ((good + coming >= wanted && repair === undefined) || coming > 0) return { text: '' };
  const { perHost } = context.config.copies;
  if (perHost === 0) return { text: short && `${short}Missing copies are not made here (copies.perHost is 0).` };
  if (!copies.some((copy) => copy.state === 'ready' && copy.online)) {
    return { text: `${short}None can be reached now to make another from.` };
  }
  const pulls = await tx.uploads.copyPulls();
  const busy = new Set([...pulls].filter(([, count]) => count >= perHost).map(([hostId]) => hostId));
  const first = await tryCopy(context, tx, { image, copies, busy, storeId: repair?.storeId });
  if ('uploadId' in first) return { uploadId: first.uploadId, text: '' };
  if (repair === undefined || first.waiting) return { text: first.waiting ? '' : `${short}${first.reason}` };
  // No room beside the damaged one: elsewhere, or else it makes room.
  const second = good < wanted ? await tryCopy(context, tx, { image, copies, busy }) : undefined;
  if (second !== undefined && 'uploadId' in second) return { uploadId: second.uploadId, text: '' };
  const makesRoom = second?.waiting !== true && copies.some((copy) => counts(copy) && copy.online);
  if (makesRoom) await markRemoving(tx, image, [repair], repair.status);
  return { text: second === undefined ? '' : `${short}${second.reason}`, removed: makesRoom };
}

interface CopyWanted {
  readonly image: Image;
  readonly copies: readonly CopyPlace[];
  readonly storeId?: string | undefined;
  readonly busy?: ReadonlySet<string> | undefined;
  /** Beyond what was promised when its number of Copies was set: it counts against the quota of its owner. */
  readonly extra?: boolean | undefined;
}

/** Rows of one more Copy of a ready Image, or why not. The Image's lock is held. */
export async function tryCopy(
  context: Context,
  tx: ControlDb,
  { image, copies, storeId, busy, extra }: CopyWanted,
): Promise<
  { readonly uploadId: string } | { readonly reason: string; readonly waiting: boolean; readonly error: Error }
> {
  const holding = copies.filter((copy) => copy.state !== 'failed' && copy.state !== 'removing');
  const stored = copies.filter((copy) => copy.state === 'ready').map((copy) => copy.storedSize ?? 0);
  const reserve = Math.max(0, ...stored);
  const placed = await placeCopy(context, tx, {
    reserve,
    placement: image.placement,
    storeId,
    taken: new Set(holding.map((copy) => copy.storeId)),
    hosts: new Set(holding.filter((copy) => !copy.evicting).map((copy) => copy.hostId)),
    busy,
  });
  if (placed.kind === 'refused') {
    return { reason: placed.error.message, waiting: placed.waiting, error: placed.error };
  }
  try {
    if (extra === true || holding.length < image.placement.minCopies) {
      await checkQuota(context, tx, image.owner, reserve);
    }
  } catch (error) {
    const { message } = toHawserError(error);
    return { reason: message, waiting: false, error: toHawserError(error) };
  }
  const uploadId = context.randomId();
  await insertInbound(context, tx, {
    uploadId,
    taskId: context.randomId(),
    imageId: image.id,
    owner: image.owner,
    purpose: 'copy',
    source: { kind: 'copy', imageId: image.id },
    task: { kind: 'replicate', status: `To ${placed.store.name} on ${placed.store.hostName}` },
    declaredSize: image.size,
    reserved: reserve,
    format: image.format,
    expectedDigest: image.digests.find((digest) => digest.algorithm === 'tree-sha256') ?? null,
    fingerprint: null,
    store: placed.store,
    tries: await tx.copies.tries(image.id),
  });
  return { uploadId };
}
