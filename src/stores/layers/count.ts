import type { Store } from '../store.ts';
import { layered, type OperationName } from './layer.ts';

export interface OperationCount {
  readonly calls: number;
  readonly failures: number;
  /** Bytes of those that succeeded. */
  readonly bytes: number;
}

export interface CountedStore {
  readonly store: Store;
  /** As it is at this moment. */
  count(name: OperationName): OperationCount;
}

/** Counts what passes: for metrics, and for tests of how much is read. */
export function withCount(store: Store): CountedStore {
  const counts = new Map<OperationName, OperationCount>();
  const add = (name: OperationName, failures: number, bytes: number) => {
    const before = counts.get(name) ?? none;
    counts.set(name, {
      calls: before.calls + 1,
      failures: before.failures + failures,
      bytes: before.bytes + bytes,
    });
  };
  const counted = layered(
    store,
    async (operation, run) => {
      try {
        const result = await run();
        add(operation.name, 0, operation.bytes);
        return result;
      } catch (error) {
        add(operation.name, 1, 0);
        throw error;
      }
    },
    ({ name, bytes }) => add(name, 0, bytes),
  );
  return { store: counted, count: (name) => counts.get(name) ?? none };
}

const none: OperationCount = { calls: 0, failures: 0, bytes: 0 };
