import type { ByteSource } from '../core/bytes.ts';
import type { Range } from '../core/range.ts';
import type { EngineMeans, Incoming } from './incoming.ts';
import { isWorthMoving, type MovedBody, moveConnection, NOTHING_MOVED } from './move-connection.ts';

/**
 * Lets a mover take the body of an Upload (move-connection.ts). Nothing is moved unless the writer lends its file
 * and all of the range is new. `bytes` are acknowledged; rejects when what was moved could not be, and with the
 * signal's reason.
 */
export async function moveBody(
  parts: { readonly incoming: Incoming; readonly means: EngineMeans },
  request: { readonly range: Range; readonly onBytes?: ((bytes: number) => void) | undefined },
  source: ByteSource,
  signal: AbortSignal,
): Promise<MovedBody> {
  const { incoming, means } = parts;
  const { range } = request;
  if (!isWorthMoving(means, source, range)) return NOTHING_MOVED;
  const stop = new AbortController();
  const reservation = incoming.reserve(range, () => stop.abort());
  if (reservation === undefined) return NOTHING_MOVED;
  const target = {
    range,
    digests: true,
    skipsZeros: true,
    lend: async () => incoming.writer.lend?.(range),
    onMoved: request.onBytes,
    settle: reservation.acknowledge,
  };
  try {
    return await moveConnection({ means, source, target }, { stop: stop.signal, signal });
  } finally {
    reservation.release();
  }
}
