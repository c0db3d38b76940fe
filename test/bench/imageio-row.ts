import type { Sample } from './measure.ts';
import type { PairMeans } from './pairs.ts';

export const transports = ['HTTP', 'unix', 'HTTPS'] as const;
export type Transport = (typeof transports)[number];

/** One case, round by round in turn with a peer where there is one. */
export interface ImageioRow {
  readonly way: 'PUT' | 'GET';
  readonly transport: Transport;
  /** What it is besides. */
  readonly name: string;
  readonly bytes: number;
  readonly hawser: readonly Sample[];
  readonly peer?: { readonly name: 'nginx' | 'nbdcopy'; readonly samples: readonly Sample[] } | undefined;
}

export type ImageioMeans = Omit<PairMeans, 'hawser' | 'nginx'>;
