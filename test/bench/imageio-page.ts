import type { ImageioAlone, ImageioResult } from './imageio.ts';
import { median } from './measure.ts';
import { cpuPerGiB, type Pair, wallRatio } from './pairs.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Of the imageio door, as rows for a table each. */
export function imageioRows({ pairs, alone }: ImageioResult): {
  readonly pairs: readonly (readonly string[])[];
  readonly alone: readonly (readonly string[])[];
} {
  return { pairs: pairs.map(pairRow), alone: alone.map(aloneRow) };
}

export const imageioHeads = {
  pairs: ['case', 'Hawser MiB/s', 'nginx MiB/s', 'ratio', 'Hawser CPU s/GiB', 'nginx CPU s/GiB'],
  alone: ['case', 'of GiB', 'seconds', 'CPU seconds'],
} as const;

function pairRow(pair: Pair): readonly string[] {
  const rate = (side: 'hawser' | 'nginx') =>
    (pair.bytes / MiB / median(pair[side].map(({ seconds }) => seconds))).toFixed(0);
  return [
    pair.name,
    rate('hawser'),
    rate('nginx'),
    wallRatio(pair).toFixed(2),
    cpuPerGiB(pair, 'hawser').toFixed(2),
    cpuPerGiB(pair, 'nginx').toFixed(2),
  ];
}

function aloneRow({ name, bytes, seconds, cpuSeconds }: ImageioAlone): readonly string[] {
  return [name, (bytes / GiB).toFixed(2), seconds.toFixed(3), cpuSeconds.toFixed(2)];
}
