import { type ErrorCode, isHawserError } from '../../core/errors.ts';
import type { Store } from '../store.ts';
import { layered } from './layer.ts';

export interface RetryOptions {
  /** How often an operation is tried in all. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; doubled for each further one, up to `longest`. */
  readonly first: number;
  readonly longest: number;
  /** Rejects with the signal's reason when it fires. */
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
  /** 0 to 1: of each pause at least half is kept, the rest is chance, so that many do not come back at once. */
  readonly random: () => number;
}

/**
 * Tries again what failed for a moment. Every operation of a Store may be repeated: offsets, no
 * cursors. Only `create` may then find what its first attempt made, and throws `already-exists`: who
 * owns the key reopens it.
 */
export function withRetry(store: Store, options: RetryOptions): Store {
  return layered(
    store,
    async (operation, run) => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await run();
        } catch (error) {
          if (attempt >= options.attempts || !isPassing(error)) throw error;
        }
        const pause = Math.min(options.longest, options.first * 2 ** (attempt - 1));
        await options.sleep(pause * (0.5 + options.random() / 2), operation.signal);
        operation.signal?.throwIfAborted();
      }
    },
    // A write through a lent descriptor that fails comes back as an ordinary one.
    () => {},
  );
}

/** Not everything that is `retryable` passes within seconds: a full Store waits for a person, lost bytes never come back. */
const passing: ReadonlySet<ErrorCode> = new Set(['store-failed', 'unavailable', 'connection-lost', 'too-many']);

function isPassing(error: unknown): boolean {
  return isHawserError(error) && passing.has(error.code) && error.details.unsyncedLost !== true;
}
