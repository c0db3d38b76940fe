import type { Store } from '../store.ts';
import { layered, type Operation } from './layer.ts';

/**
 * What goes wrong: nothing is done, half is done (operations that move bytes; the others do
 * nothing), or all is done and the answer is lost.
 */
export interface Fault {
  readonly when: 'before' | 'half' | 'after';
  readonly error: Error;
}

/** Asked for every operation, in the order they begin. */
export type FaultScript = (operation: Operation) => Fault | undefined;

/** Fails as the script says: for tests of crashes, full Stores and devices that give up. */
export function withFault(store: Store, script: FaultScript): Store {
  return layered(store, async (operation, run) => {
    const fault = script(operation);
    if (fault === undefined) return run();
    if (fault.when === 'half') await operation.half?.();
    if (fault.when === 'after') await run();
    throw fault.error;
  });
}
