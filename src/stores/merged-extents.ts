import { type Range, rangeEnd } from '../core/range.ts';

/** Neighbours that `same` holds for equal as one. They come in order and without gaps. */
export async function* mergedExtents<T extends Range>(
  extents: AsyncIterable<T>,
  same: (a: T, b: T) => boolean,
): AsyncGenerator<T> {
  let held: T | undefined;
  for await (const extent of extents) {
    if (held !== undefined && same(held, extent)) {
      held = { ...held, length: rangeEnd(extent) - held.offset };
      continue;
    }
    if (held !== undefined) yield held;
    held = extent;
  }
  if (held !== undefined) yield held;
}
