import type { Context } from './context.ts';
import { endUpload } from './ending.ts';
import { placeCopy } from './opening.ts';
import type { UploadRow } from './ports.ts';

/**
 * A further Copy that a silent host was fetching: when another Store can take it, it is ended here and so begun
 * there, and what the silent host has of it goes as soon as it is back. Without such a Store it waits for its host.
 */
export async function giveUpAway(context: Context, upload: UploadRow): Promise<void> {
  const hostName = await context.db.transaction(async (tx) => {
    const image = await tx.images.lock(upload.imageId);
    if (image?.state !== 'ready') return undefined;
    const copies = await tx.copies.of(image.id);
    const holding = copies.filter((copy) => copy.state !== 'failed' && copy.state !== 'removing');
    const placed = await placeCopy(context, tx, {
      reserve: upload.reserved,
      placement: image.placement,
      taken: new Set(holding.map((copy) => copy.storeId)),
      hosts: new Set(holding.map((copy) => copy.hostId)),
    });
    if (placed.kind === 'refused') return undefined;
    return copies.find((copy) => copy.id === upload.copyId)?.hostName;
  });
  if (hostName === undefined) return;
  await endUpload(context, upload, {
    to: 'failed',
    status: `The host ${hostName} does not answer; the copy is made elsewhere.`,
    cause: 'unavailable',
    image: 'failed',
    retry: { tries: await context.db.copies.tried(upload.copyId), at: context.now() },
  });
}
