import { cutAt, intersect, type Range, rangeEnd } from '../core/range.ts';
import type { ImageioImage, Offer } from './imageio-image.ts';
import { patiently } from './imageio-patience.ts';
import type { Patience } from './patience.ts';
import type { SourceExtent } from './ports.ts';

/** Asked for at once where parts may be, so that neither side holds the extents of a petabyte. */
const AT_ONCE = 64 * 1024 ** 3;

/** Data and zeros of `range` in order, without gaps, as the server tells them. */
export async function* imageioExtents(
  { image, offer, patience }: { readonly image: ImageioImage; readonly offer: Offer; readonly patience: Patience },
  range: Range,
): AsyncGenerator<SourceExtent> {
  const parts = offer.partial.has('extents') ? cutAt(range, AT_ONCE) : [undefined];
  for (const part of parts) {
    for (const extent of await patiently(patience, () => image.extents(part))) {
      const wanted = intersect(extent, range);
      if (wanted !== undefined) yield { ...wanted, kind: extent.kind };
    }
  }
}

/** Where the last extent ends: how a server that has no other word for it tells the size. */
export async function endOfExtents(image: ImageioImage): Promise<number> {
  const last = (await image.extents()).at(-1);
  return last === undefined ? 0 : rangeEnd(last);
}
