import { Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useEffect, useMemo } from 'react';
import { queries } from '../api/queries.ts';
import { formatBytes, percent } from '../parts/numbers.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { ByteMap } from './byte-map.tsx';

/** Data and holes of a ready Image, and what the holes save. A long map is read part by part and grows meanwhile. */
export function ExtentMap({ imageId }: { readonly imageId: string }) {
  const list = useInfiniteQuery(queries.extents(imageId));
  const { fetchNextPage, hasNextPage, isFetching, isError } = list;
  useEffect(() => {
    if (hasNextPage && !isFetching && !isError) void fetchNextPage();
  }, [hasNextPage, isFetching, isError, fetchNextPage]);
  const parts = list.data?.pages;
  const runs = useMemo(() => parts?.flatMap((part) => part.runs) ?? [], [parts]);
  if (list.error !== null) return <ProblemNote error={list.error} onRetry={() => void list.fetchNextPage()} />;
  const last = parts?.at(-1);
  if (parts === undefined || last === undefined) return <Text size="sm">Reading the map…</Text>;
  const data = parts.reduce((sum, part) => sum + part.dataBytes, 0);
  const known = last.next ?? last.size;
  const holes = known - data;
  const legend = [
    ['data', `Data ${formatBytes(data)}`],
    ['rest', `Holes ${formatBytes(holes)}`],
  ] as const;
  return (
    <>
      <ByteMap size={last.size} runs={runs} label={legend.map(([, text]) => text).join(', ')} legend={legend} />
      <Text size="sm" c="dimmed" mt="xs" role="status">
        {last.next === null
          ? summary(holes, last.size)
          : `Reading the map: the first ${formatBytes(known)} of ${formatBytes(last.size)} so far.`}
      </Text>
    </>
  );
}

function summary(holes: number, size: number): string {
  return holes > 0
    ? `Holes take no space and are never sent: ${formatBytes(holes)} saved, ${percent(holes, size)} % of it.`
    : 'It has no holes: every part holds data.';
}
