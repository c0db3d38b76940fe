import type { HawserError } from '../../core/errors.ts';
import type { Store } from '../../stores/store.ts';

/** Stands for a Store that cannot be used now: everything fails with why, and reports tell it. */
export function refusedStore(kind: string, why: HawserError): Store {
  const refuse = () => Promise.reject(why);
  return {
    kind,
    traits: { sizeHint: 'ignored', zero: 'none', unmap: 'none', extents: 'none', resize: 'none', snapshots: 'none' },
    create: refuse,
    reopen: refuse,
    open: refuse,
    clone: refuse,
    stat: refuse,
    remove: refuse,
    usage: refuse,
    close: () => Promise.resolve(),
  };
}
