import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { queries } from '../api/queries.ts';
import { formatBytes, percent } from '../parts/numbers.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { ByteMap } from './byte-map.tsx';
import type { MapRun } from './map-cells.ts';

/** Data and holes of a ready Image, and what the holes save. */
export function ExtentMap({ imageId }: { readonly imageId: string }) {
  const list = useQuery(queries.extents(imageId));
  const found = list.data;
  const runs = useMemo<readonly MapRun[]>(
    () =>
      found?.extents.map(({ offset, length, kind }) => ({ offset, length, kind: kind === 'data' ? kind : 'rest' })) ??
      [],
    [found],
  );
  if (list.error !== null) return <ProblemNote error={list.error} onRetry={() => void list.refetch()} />;
  if (found === undefined) return <Text size="sm">Reading the map…</Text>;
  const data = runs.reduce((sum, run) => sum + (run.kind === 'data' ? run.length : 0), 0);
  const holes = found.size - data;
  const legend = [
    ['data', `Data ${formatBytes(data)}`],
    ['rest', `Holes ${formatBytes(holes)}`],
  ] as const;
  return (
    <>
      <ByteMap size={found.size} runs={runs} label={legend.map(([, text]) => text).join(', ')} legend={legend} />
      <Text size="sm" c="dimmed" mt="xs">
        {holes > 0
          ? `Holes take no space and are never sent: ${formatBytes(holes)} saved, ${percent(holes, found.size)} % of it.`
          : 'It has no holes: every part holds data.'}
        {found.next !== null && ' The map is too long to show whole; the rest counts as holes here.'}
      </Text>
    </>
  );
}
