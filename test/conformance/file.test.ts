import { storeConformance } from './store-conformance.ts';
import { filePlace } from './store-places.ts';

storeConformance('file', { make: () => filePlace(), runs: 100 });
