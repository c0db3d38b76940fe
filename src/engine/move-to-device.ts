import type { ByteSource } from '../core/bytes.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Device } from '../stores/device.ts';
import { type MovedBody, type MoveMeans, moveConnection } from './move-connection.ts';

/** Part of a body. */
type Moved = Range & { readonly zero: boolean };

/**
 * Lets a mover take a body to a Device (move-connection.ts). Nothing is moved unless the Device lends its
 * descriptor. Blocks of zeros are punched when `punch` says so. `onBytes` is told of what is in the Device, in order.
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
    lend: async () => device.lend?.(range),
    settle: async (segments: readonly Moved[]) => {
      for (const run of runs(segments)) {
        if (run.zero) await device.zero(run, signal);
        onBytes(run.length);
      }
    },
  };
  // Nobody else takes the rest over.
  return moveConnection({ means, source, target }, { stop: signal, signal });
}

/** Adjacent ones of one kind as one. */
function runs(segments: readonly Moved[]): readonly Moved[] {
  const merged: Moved[] = [];
  for (const { offset, length, zero } of segments) {
    const last = merged.at(-1);
    if (last?.zero === zero && rangeEnd(last) === offset)
      merged.splice(-1, 1, { ...last, length: last.length + length });
    else merged.push({ offset, length, zero });
  }
  return merged;
}
