import type { StoreResource } from '../../../src/contract/api/store.ts';
import { calls } from '../api/calls.ts';
import { PlaceActions } from '../parts/place-actions.tsx';

/** What an administrator may do with a Store. */
export function StoreActions({ store }: { readonly store: StoreResource }) {
  return (
    <PlaceActions
      place={store}
      called={`${store.name} on ${store.hostName}`}
      emptying={{
        action: 'Evict',
        takeBack: 'Take the evicting back',
        means: 'Its Copies are made anew on other Stores first and removed here then, and nothing new comes to it.',
      }}
      change={(part) => calls.changeStore(store.id, part)}
      queryKey="stores"
    />
  );
}
