import { deviceConformance } from './device-conformance.ts';
import { localPlace } from './device-places.ts';
import { MiB } from './store-content.ts';

deviceConformance('a file', { make: (size) => localPlace(size) });
deviceConformance('a file that keeps its space', {
  make: (size) => localPlace(size, undefined, { sparse: false }),
  runs: 5,
});
deviceConformance('a file of no whole blocks', { size: 5 * MiB + 777, make: (size) => localPlace(size), runs: 5 });
deviceConformance('a file that grows', {
  make: (size) => localPlace(0, undefined, { growTo: size }),
  runs: 5,
});
