import { TREE_BLOCK } from '../core/digest.ts';
import type { HawserError } from '../core/errors.ts';
import { cutAt } from '../core/range.ts';
import type { ImageioImage, Offer } from './imageio-image.ts';
import { patiently } from './imageio-patience.ts';
import type { ImageioStatus } from './imageio-progress.ts';
import type { LeafTable } from './leaf-table.ts';
import type { Patience } from './patience.ts';
import type { Hashing } from './ports.ts';

export interface VerifyImageio {
  readonly image: ImageioImage;
  readonly offer: Offer;
  /** All that the server has behind the ticket, where that is known. */
  readonly imageSize: number | undefined;
  /** What we have, from its first byte on. */
  readonly size: number;
  readonly leafTable: LeafTable;
  readonly hashing: Hashing;
  readonly patience: Patience;
  readonly status: ImageioStatus;
  /** `where` goes into a sentence: "between byte 0 and 1048576". */
  readonly differs: (where: string) => HawserError;
}

const AT_ONCE = 1024 * TREE_BLOCK;

/**
 * Compares the server's digests with ours: part by part where it can tell them, else of the whole. Throws `differs`.
 * Resolves with false when it cannot tell: it has no checksums, or only of an image that is larger than ours.
 */
export async function verifyImageio(request: VerifyImageio): Promise<boolean> {
  const { image, imageSize, offer, patience, size, status } = request;
  if (!offer.features.has('checksum')) return false;
  if (offer.partial.has('checksum')) {
    status.change({ phase: 'verifying', done: 0 });
    for (const part of cutAt({ offset: 0, length: size }, AT_ONCE)) {
      const theirs = await patiently(patience, () => image.treeDigest(part));
      const ours = await request.leafTable.rangeDigest(part, request.hashing);
      if (theirs !== ours) throw request.differs(`between byte ${part.offset} and ${part.offset + part.length}`);
      status.change({ done: part.offset + part.length });
    }
    return true;
  }
  if (imageSize !== size) return false;
  status.change({ phase: 'verifying', done: 0 });
  const theirs = await patiently(patience, () => image.treeDigest());
  if (theirs !== (await request.leafTable.treeDigest(size, request.hashing))) throw request.differs('in all');
  return true;
}
