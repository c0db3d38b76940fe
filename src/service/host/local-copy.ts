import { rangeEnd } from '../../core/range.ts';
import type { Extent } from '../../stores/store.ts';
import type { CopyReader } from './data-plane.ts';
import type { HostCopies } from './host-copies.ts';
import type { DistantCopy, ExtentPage } from './ports.ts';

const EXTENTS_AT_ONCE = 10_000;

/** A Copy of this very host, read through the engine without a wire in between. */
export function localCopy(
  copies: HostCopies,
  { storeId, key }: { readonly storeId: string; readonly key: string },
): DistantCopy {
  let opened: Promise<CopyReader> | undefined;
  const open = () => {
    opened ??= copies.open(storeId, key).catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
  return {
    // One file is written by one at a time anyway.
    lanes: 1,
    extents: async (from) => extentPage(await open(), from),
    leaves: async (first, count) => (await open()).leaves(first, count),
    data: async (range) => {
      const copy = await open();
      return {
        drain: (take, signal) => copy.send(range, { write: async (chunk) => take(chunk) }, signal),
      };
    },
    async [Symbol.asyncDispose]() {
      const copy = await opened?.catch(() => undefined); // who asked for it was told
      await copy?.[Symbol.asyncDispose]();
    },
  };
}

async function extentPage(copy: CopyReader, from: number): Promise<ExtentPage> {
  const extents: Extent[] = [];
  for await (const extent of copy.extents({ offset: from, length: copy.size - from })) {
    if (extents.length === EXTENTS_AT_ONCE) break;
    extents.push(extent);
  }
  const last = extents.at(-1);
  const reached = last === undefined ? copy.size : rangeEnd(last);
  return { size: copy.size, extents, next: reached < copy.size ? reached : null };
}
