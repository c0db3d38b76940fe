import { useSyncExternalStore } from 'react';

/** A value outside React that components follow. */
export interface SignalStore<T> {
  get(): T;
  set(value: T): void;
  subscribe(listener: () => void): () => void;
}

export function signalStore<T>(initial: T): SignalStore<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of listeners) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useSignal<T>(store: SignalStore<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}
