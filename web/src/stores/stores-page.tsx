import { useQuery } from '@tanstack/react-query';
import { queries } from '../api/queries.ts';
import { PageHead } from '../parts/page-head.tsx';
import { PlaceList } from '../parts/place-list.tsx';
import { StoreCard } from './store-card.tsx';

export function StoresPage() {
  // When it was seen last changes without an event of its own.
  const stores = useQuery({ ...queries.stores(), refetchInterval: 10_000 });
  return (
    <>
      <PageHead title="Stores" />
      <PlaceList
        of="Stores"
        query={stores}
        items={stores.data?.items ?? []}
        card={(store) => <StoreCard store={store} />}
      />
    </>
  );
}
