import { zeroRange } from '../../src/native/allocate.ts';
import { storeConformance } from './store-conformance.ts';
import { filePlace } from './store-places.ts';

storeConformance('file that may not punch holes', {
  make: () => filePlace(undefined, { zeroRungs: [zeroRange] }),
  runs: 10,
});
storeConformance('file whose rungs are all refused', {
  make: () => filePlace(undefined, { zeroRungs: [refuse, refuse] }),
  runs: 10,
});

async function refuse(): Promise<'refused'> {
  return 'refused';
}
