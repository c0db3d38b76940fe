import { expect, test } from 'vitest';
import { libc } from '../../src/native/libc.ts';
import { storeConformance } from './store-conformance.ts';
import { filePlace } from './store-places.ts';

// libc() looks once, at its first use: in this file, on a machine where it knows no library.
Object.defineProperty(process, 'platform', { value: 'freebsd' });

test('there is no libc here', () => {
  expect(libc()).toBeUndefined();
});

storeConformance('file without libc', { make: () => filePlace(), runs: 10 });
