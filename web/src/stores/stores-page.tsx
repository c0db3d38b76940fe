import { Center, Loader, SimpleGrid } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { queries } from '../api/queries.ts';
import { PageHead } from '../parts/page-head.tsx';
import { ProblemNote } from '../parts/problem-note.tsx';
import { StoreCard } from './store-card.tsx';

export function StoresPage() {
  // When it was seen last changes without an event of its own.
  const stores = useQuery({ ...queries.stores(), refetchInterval: 10_000 });
  const items = stores.data?.items ?? [];
  return (
    <>
      <PageHead title="Stores" />
      {stores.error !== null && <ProblemNote error={stores.error} onRetry={() => void stores.refetch()} />}
      {stores.isPending && (
        <Center p="xl">
          <Loader aria-label="Loading Stores" />
        </Center>
      )}
      <SimpleGrid
        component="ul"
        cols={{ base: 1, lg: items.length > 1 ? 2 : 1 }}
        spacing="md"
        p={0}
        m={0}
        className="h-list"
      >
        {items.map((store) => (
          <li key={store.id}>
            <StoreCard store={store} />
          </li>
        ))}
      </SimpleGrid>
    </>
  );
}
