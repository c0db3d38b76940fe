import type { ImageResource } from '../contract/api/image.ts';

/** `--min-copies`, `--store-tag`, `--host-tag`. */
export interface PlacementOptions {
  readonly minCopies?: number;
  readonly storeTag?: readonly string[];
  readonly hostTag?: readonly string[];
}

/** What was asked for; undefined when nothing was. An empty tag (`--store-tag ''`) asks for none. */
export function placementOf(options: PlacementOptions): Partial<ImageResource['placement']> | undefined {
  const { hostTag, minCopies, storeTag } = options;
  const asked = {
    ...(minCopies === undefined ? {} : { minCopies }),
    ...(storeTag === undefined ? {} : { storeTags: storeTag.filter((tag) => tag !== '') }),
    ...(hostTag === undefined ? {} : { hostTags: hostTag.filter((tag) => tag !== '') }),
  };
  return Object.keys(asked).length === 0 ? undefined : asked;
}
