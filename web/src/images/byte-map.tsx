import { Group, Text, useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import { cellsOf, type MapRun } from './map-cells.ts';

interface ByteMapProps {
  readonly size: number;
  readonly runs: readonly MapRun[];
  /** What the picture says, in words. */
  readonly label: string;
  readonly legend: readonly (readonly [kind: MapRun['kind'], text: string])[];
}

const CELL = 10;
const GAP = 2;
const MAX_ROWS = 14;
const colours: Record<MapRun['kind'], string> = { data: '--h-data', zero: '--h-zero', rest: '--h-missing' };

/** All bytes of something as cells, from its start at the top left to its end. Each cell shows the mixture in it. */
export function ByteMap({ size, runs, label, legend }: ByteMapProps) {
  const { ref, width } = useElementSize();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scheme = useComputedColorScheme();
  const columns = Math.max(8, Math.floor((width + GAP) / (CELL + GAP)));
  const rows = Math.max(1, Math.min(MAX_ROWS, Math.ceil(size / (1024 * 1024) / columns)));
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes what the colours resolve to
  useEffect(() => {
    if (canvas.current !== null && width > 0) paint(canvas.current, cellsOf(runs, size, columns * rows), columns);
  }, [runs, size, columns, rows, width, scheme]);
  return (
    <div ref={ref}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={label}
        style={{ display: 'block', width: columns * (CELL + GAP), height: rows * (CELL + GAP), maxWidth: '100%' }}
        width={columns * (CELL + GAP) * 2}
        height={rows * (CELL + GAP) * 2}
      />
      <Group gap="lg" mt="xs">
        {legend.map(([kind, text]) => (
          <Text key={kind} size="sm">
            <span className="h-legend" style={{ background: `var(${colours[kind]})` }} />
            {text}
          </Text>
        ))}
      </Group>
    </div>
  );
}

function paint(canvas: HTMLCanvasElement, cells: ReturnType<typeof cellsOf>, columns: number): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const style = getComputedStyle(canvas);
  const colour = (kind: MapRun['kind']) => style.getPropertyValue(colours[kind]);
  context.setTransform(2, 0, 0, 2, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  cells.forEach(({ data, zero }, index) => {
    const x = (index % columns) * (CELL + GAP);
    const y = Math.floor(index / columns) * (CELL + GAP);
    context.fillStyle = colour('rest');
    context.fillRect(x, y, CELL, CELL);
    context.fillStyle = colour('zero');
    context.fillRect(x, y, CELL * Math.min(1, data + zero), CELL);
    context.fillStyle = colour('data');
    context.fillRect(x, y, CELL * data, CELL);
  });
}
