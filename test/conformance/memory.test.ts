import { storeConformance } from './store-conformance.ts';
import { memoryPlace } from './store-places.ts';

storeConformance('memory', {
  make: () => memoryPlace(),
  makeSmall: (bytes) => memoryPlace(bytes),
  survives: 'nothing',
  runs: 200,
});
