import type { Store } from '../store.ts';
import { layered } from './layer.ts';

export interface LimitOptions {
  readonly bytesPerSecond: number;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
}

/**
 * Keeps reads and writes together below a rate. Each pays for the one before: a single operation
 * never waits, and over time the rate holds whatever the sizes. Zeros move nothing and are free.
 */
export function withLimit(store: Store, options: LimitOptions): Store {
  let freeAt = Number.NEGATIVE_INFINITY;
  return layered(store, async (operation, run) => {
    if (operation.name !== 'read' && operation.name !== 'write') return run();
    const now = options.now();
    const beginAt = Math.max(freeAt, now);
    freeAt = beginAt + (operation.bytes * 1000) / options.bytesPerSecond;
    if (beginAt > now) await options.sleep(beginAt - now);
    return run();
  });
}
