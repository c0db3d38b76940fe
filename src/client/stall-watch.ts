import { HawserError } from '../core/errors.ts';
import { following } from '../core/in-lanes.ts';
import type { Clock } from './ports.ts';

export interface StallLimits {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Without a byte for so long it is given up, milliseconds. */
  readonly stallMs: number;
}

/**
 * Runs one request and aborts it when nothing has moved for too long: then it rejects with
 * `connection-lost` and details.stalled. `run` reports how many bytes have moved in all.
 */
export async function watched<T>(
  { clock, signal, stallMs }: StallLimits,
  run: (signal: AbortSignal, moved: (bytes: number) => void) => Promise<T>,
): Promise<T> {
  const { controller, release } = following(signal);
  const ended = new AbortController();
  let movedAt = clock.now();
  let most = 0;
  const watch = async () => {
    for (;;) {
      const left = stallMs - (clock.now() - movedAt);
      if (left <= 0) return controller.abort(stalledError(most, stallMs));
      await clock.delay(left, ended.signal);
    }
  };
  const watching = watch().catch(() => undefined);
  try {
    return await run(controller.signal, (bytes) => {
      if (bytes <= most) return;
      most = bytes;
      movedAt = clock.now();
    });
  } finally {
    ended.abort();
    release();
    await watching;
  }
}

function stalledError(moved: number, stallMs: number): HawserError {
  return new HawserError(
    'connection-lost',
    `Nothing moved for ${Math.round(stallMs / 1000)} s; ${moved} bytes of this request had passed.`,
    { details: { stalled: true } },
  );
}
