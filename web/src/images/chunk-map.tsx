import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { queries } from '../api/queries.ts';
import { formatBytes } from '../parts/numbers.ts';
import { ProblemNote } from '../parts/problem-note.tsx';
import { ByteMap } from './byte-map.tsx';
import { type MapRun, without } from './map-cells.ts';

interface ChunkMapProps {
  readonly uploadId: string;
  readonly size: number | null;
}

/** What of an Upload has been acknowledged: data, zeros, missing; live. */
export function ChunkMap({ uploadId, size }: ChunkMapProps) {
  const ranges = useQuery({ ...queries.uploadRanges(uploadId), refetchInterval: 5_000 });
  const found = ranges.data;
  const runs = useMemo<readonly MapRun[]>(() => {
    if (found === undefined) return [];
    return [
      ...without(found.ranges, found.zeros).map((range) => ({ ...range, kind: 'data' as const })),
      ...found.zeros.map((range) => ({ ...range, kind: 'zero' as const })),
    ];
  }, [found]);
  if (ranges.error !== null) return <ProblemNote error={ranges.error} onRetry={() => void ranges.refetch()} />;
  if (found === undefined) return <Text size="sm">Reading the map…</Text>;
  const zeros = found.zeros.reduce((sum, range) => sum + range.length, 0);
  const last = found.ranges.at(-1);
  const whole = size ?? (last === undefined ? 0 : last.offset + last.length);
  const missing = whole - found.receivedBytes;
  const legend = [
    ['data', `Data ${formatBytes(found.receivedBytes - zeros)}`],
    ['zero', `Zeros, not sent ${formatBytes(zeros)}`],
    ['rest', `Missing ${formatBytes(missing)}`],
  ] as const;
  return <ByteMap size={whole} runs={runs} label={legend.map(([, text]) => text).join(', ')} legend={legend} />;
}
