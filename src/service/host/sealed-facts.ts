import { HawserError } from '../../core/errors.ts';
import type { Store } from '../../stores/store.ts';
import type { SealedFacts } from './ports.ts';

/** The facts with what the Store says of the sealed object. */
export async function sealedFacts(store: Store, key: string, facts: SealedFacts): Promise<SealedFacts> {
  const stat = await store.stat(key);
  if (stat.kind !== 'sealed')
    throw new HawserError('store-failed', 'The store does not show the object that was just sealed.');
  return { ...facts, storedSize: stat.storedSize, fingerprint: stat.fingerprint };
}
