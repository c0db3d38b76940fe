import 'uplot/dist/uPlot.min.css';
import { Text, useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import { ratesOf } from '../live/throughput.ts';
import { formatRate } from '../parts/numbers.ts';

const HEIGHT = 180;
const MiB = 1024 * 1024;
/** Steps of the axis: round in binary units. */
const steps = Array.from({ length: 20 }, (_, power) => MiB * 2 ** (power - 4));
const clock = new Intl.DateTimeFormat('en', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

/** Bytes per second since this page is open. */
export function ThroughputPlot({ task }: { readonly task: TaskResource }) {
  const { ref, width } = useElementSize();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const scheme = useComputedColorScheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes what the colours resolve to
  useEffect(() => {
    if (box.current === null || width === 0) return;
    const made = new uPlot(optionsOf(width, getComputedStyle(box.current)), pointsOf(task.id), box.current);
    plot.current = made;
    return () => made.destroy();
  }, [width, scheme, task.id]);
  useEffect(() => plot.current?.setData(pointsOf(task.id)), [task]);
  return (
    <div ref={ref}>
      <Text size="sm" c="dimmed">
        Throughput
      </Text>
      <div ref={box} role="img" aria-label={`Throughput, now ${formatRate(task.rate)}`} />
    </div>
  );
}

function pointsOf(taskId: string): uPlot.AlignedData {
  const points = ratesOf(taskId);
  return [points.map(({ at }) => at / 1000), points.map(({ rate }) => rate)];
}

function optionsOf(width: number, style: CSSStyleDeclaration): uPlot.Options {
  const text = style.getPropertyValue('--mantine-color-dimmed');
  const line = style.getPropertyValue('--h-data');
  const grid = { stroke: style.getPropertyValue('--h-line'), width: 1 };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: true },
      y: { range: (_plot, _low, high) => [0, Math.max(MiB, high * 1.1)] },
    },
    axes: [
      {
        stroke: text,
        grid,
        ticks: grid,
        space: 90,
        incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600],
        values: (_plot, ticks) => ticks.map((at) => clock.format(at * 1000)),
      },
      {
        stroke: text,
        grid,
        ticks: grid,
        size: 80,
        incrs: steps,
        values: (_plot, ticks) => ticks.map((tick) => (tick === 0 ? '0' : formatRate(tick))),
      },
    ],
    series: [
      {},
      { stroke: line, width: 2, fill: `color-mix(in srgb, ${line} 20%, transparent)`, points: { show: false } },
    ],
  };
}
