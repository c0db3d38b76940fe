import { HawserError } from '../../core/errors.ts';
import { removalRefusal } from '../../core/guards.ts';
import type { Copy, Image } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { endUploadIn, removeBytes, settle } from './ending.ts';
import type { ControlDb } from './ports.ts';
import { touchPlace } from './views.ts';

/**
 * Marks Copies as going, all or none, in the transaction that holds the lock of their Image (`image` was
 * read under it): the one place where single Copies are given up. Throws `in-use`, `last-copy`, `conflict`.
 */
export async function markRemoving(
  tx: ControlDb,
  image: Image,
  victims: readonly Copy[],
  status: string,
): Promise<void> {
  if (victims.length === 0) return;
  const going = new Set(victims.map((copy) => copy.id));
  const refusal = removalRefusal(image, going, await tx.copies.inUse(image.id));
  if (refusal !== undefined) throw new HawserError(refusal.code, refusal.reason);
  for (const upload of await tx.uploads.liveOf(image.id)) {
    if (!going.has(upload.copyId)) continue;
    await endUploadIn(tx, upload, { to: 'cancelled', status, cause: 'cancelled', image: 'failed' });
  }
  for (const copy of victims) await tx.move('copies', copy.id, 'removing', { status });
}

/** Has the agents remove the bytes of what was marked; what cannot be told now is told later. */
export async function removeMarked(context: Context, imageId: string): Promise<void> {
  for (const upload of await context.db.uploads.withDuty()) {
    if (upload.imageId === imageId && upload.duty === 'discard') await settle(context, upload);
  }
  for (const copy of await context.db.copies.of(imageId)) {
    if (copy.state !== 'removing') continue;
    touchPlace(context, copy);
    if (context.agents.has(copy.hostId)) await removeBytes(context, copy);
  }
  context.changes.touch('image', imageId);
}

/**
 * A Copy is not good any more: it is gone or damaged. In a transaction that holds the Image's lock. When no
 * other one holds the bytes the Image fails, and says why.
 */
export async function loseCopy(tx: ControlDb, image: Image, copyId: string, status: string): Promise<boolean> {
  if (!(await tx.move('copies', copyId, 'failed', { status }))) return false;
  const others = image.copies.filter((copy) => copy.id !== copyId);
  if (others.some((copy) => copy.state === 'ready' || copy.state === 'unknown')) return true;
  const failed = await tx.move('images', image.id, 'failed', {
    from: ['ready'],
    status: `${status} ${nextStep(image)}`,
  });
  if (!failed) return true;
  // What waits to be tried again has nothing left to wait for.
  for (const upload of await tx.uploads.liveOf(image.id)) {
    if (upload.purpose === 'copy') await tx.copies.setRetry(upload.copyId, 0, null);
  }
  return true;
}

function nextStep(image: Image): string {
  switch (image.origin) {
    case 'download':
      return 'It was the last copy; the image is fetched again.';
    case 'upload':
      return 'It was the last copy, and nobody but you has the bytes: upload the image again.';
    default:
      return 'It was the last copy, and the image cannot be fetched again. Make it anew.';
  }
}
