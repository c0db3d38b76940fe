import { expect, test } from 'vitest';
import { isHawserError } from '../../core/errors.ts';
import { RangeSet } from '../../core/range.ts';
import { mustFit } from './admission.ts';
import type { UploadRecord } from './ports.ts';

const record: UploadRecord = {
  uploadId: '',
  generation: 1,
  storeId: '',
  key: '',
  declaredSize: 1_000_000,
  maxSize: null,
  reserve: 0,
  format: 'auto',
  digests: [],
  limits: { task: null, user: null, userId: '' },
  state: 'open',
  validator: null,
  sealed: null,
};

test('a hundred thousand gaps are enough, but what closes one is welcome', () => {
  const received = RangeSet.of(Array.from({ length: 100_000 }, (_, i) => ({ offset: i * 4, length: 1 })));
  const ask = (offset: number) => () => mustFit(record, received, { offset, length: 2, total: null });
  expect(ask(500_000)).toThrow(expect.toSatisfy((error) => isHawserError(error, 'too-many')));
  expect(ask(5)).not.toThrow();
  expect(ask(0)).not.toThrow();
  received.add({ offset: 0, length: 10 });
  expect(ask(500_000)).not.toThrow();
});
