import type { ByteSource } from '../core/bytes.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Device } from '../stores/device.ts';
import { type Moved, type MovedBody, type MoveMeans, moveConnection } from './move-connection.ts';

/** Part of a body. */
type Part = Range & { readonly zero: boolean };

/**
 * Lets a mover take a body to a Device (move-connection.ts): into its descriptor, when the Device lends one, else it
 * only receives, and the Device writes. Blocks of zeros are punched when `punch` says so. `onBytes` is told of what is in the Device, in order.
 */
export async function moveToDevice(
  body: {
    readonly device: Device;
    readonly range: Range;
    readonly means: MoveMeans;
    readonly source: ByteSource;
    readonly punch: boolean;
    readonly onBytes: (bytes: number) => void;
  },
  signal: AbortSignal,
): Promise<MovedBody> {
  const { device, range, means, source, punch, onBytes } = body;
  const target = {
    range,
    digests: false,
    skipsZeros: punch,
    lend: async () => (await device.lend?.(range)) ?? { ...nothingLent, place: placeOf(device) },
    settle: async (segments: readonly Moved[]) => {
      await allWritten(segments.map(({ bytes, offset }) => bytes && device.write(bytes, offset, signal)));
      for (const run of runs(segments)) {
        if (run.zero) await device.zero(run, signal);
        onBytes(run.length);
      }
    },
  };
  // Nobody else takes the rest over.
  return moveConnection({ means, source, target }, { stop: signal, signal });
}

const nothingLent = { fd: undefined, wrote: () => {}, giveBack: () => {} };

/** A Device whose writes hang keeps the slabs, and must not share them. */
const places = new WeakMap<Device, string>();
let devices = 0;

function placeOf(device: Device): string {
  const place = places.get(device) ?? `device ${devices++} that writes itself`;
  places.set(device, place);
  return place;
}

/** Rejects as the first that did, when nobody looks at the bytes any more. */
async function allWritten(writes: readonly (Promise<void> | undefined)[]): Promise<void> {
  for (const result of await Promise.allSettled(writes)) if (result.status === 'rejected') throw result.reason;
}

/** Adjacent ones of one kind as one. */
function runs(segments: readonly Part[]): readonly Part[] {
  const merged: Part[] = [];
  for (const { offset, length, zero } of segments) {
    const last = merged.at(-1);
    if (last?.zero === zero && rangeEnd(last) === offset)
      merged.splice(-1, 1, { ...last, length: last.length + length });
    else merged.push({ offset, length, zero });
  }
  return merged;
}
