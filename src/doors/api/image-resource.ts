import type { ImageResource } from '../../contract/api/image.ts';
import { formatDigest } from '../../core/digest.ts';
import { guardOf } from '../../core/guards.ts';
import type { Copy, Image } from '../../core/nouns.ts';

export function imageResourceOf(image: Image): ImageResource {
  const stored = image.copies.map((copy) => copy.storedSize).filter((size) => size !== null);
  return {
    id: image.id,
    name: image.name,
    state: image.state,
    status: image.status,
    origin: image.origin,
    source: image.source,
    placement: {
      minCopies: image.placement.minCopies,
      storeTags: [...image.placement.storeTags],
      hostTags: [...image.placement.hostTags],
    },
    format: image.format,
    declaredSize: image.declaredSize,
    size: image.size,
    virtualSize: image.virtualSize,
    storedSize: stored.length === 0 ? null : stored.reduce((sum, size) => sum + size, 0),
    digests: image.digests.map(formatDigest),
    copies: image.copies.map((copy) => copyResourceOf(image, copy)),
    uploadId: image.uploadId,
    taskId: image.taskId,
    owner: image.owner,
    createdAt: image.createdAt.toISOString(),
    readyAt: image.readyAt?.toISOString() ?? null,
  };
}

/** Without the key: where a Copy lies on its Store is nobody's business. */
function copyResourceOf(image: Image, copy: Copy): ImageResource['copies'][number] {
  return {
    id: copy.id,
    storeId: copy.storeId,
    storeName: copy.storeName,
    hostId: copy.hostId,
    hostName: copy.hostName,
    state: copy.state,
    status: copy.status,
    doneBytes: copy.doneBytes,
    storedSize: copy.storedSize,
    guard: guardOf(image, copy.id),
  };
}
