import { Center, Loader, SimpleGrid } from '@mantine/core';
import type { ReactNode } from 'react';
import { ProblemNote } from './problem-note.tsx';

interface PlaceListProps<T> {
  /** `Hosts`, `Stores`. */
  readonly of: string;
  readonly query: { readonly error: unknown; readonly isPending: boolean; readonly refetch: () => unknown };
  readonly items: readonly T[];
  readonly card: (item: T) => ReactNode;
}

/** Cards of what has an id, two beside each other where they fit; or why there are none yet. */
export function PlaceList<T extends { readonly id: string }>({ of, query, items, card }: PlaceListProps<T>) {
  return (
    <>
      {query.error !== null && <ProblemNote error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && (
        <Center p="xl">
          <Loader aria-label={`Loading ${of}`} />
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
        {items.map((item) => (
          <li key={item.id}>{card(item)}</li>
        ))}
      </SimpleGrid>
    </>
  );
}
