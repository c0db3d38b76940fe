import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { formatDigest, leafCount, parseDigest, TREE_BLOCK, ZERO_BLOCK_LEAF } from './digest.ts';
import { isHawserError } from './errors.ts';

test('the leaf of a block of zeros is the SHA-256 of a block of zeros', () => {
  expect(ZERO_BLOCK_LEAF).toBe(createHash('sha256').update(Buffer.alloc(TREE_BLOCK)).digest('hex'));
});

test('a digest is parsed in any case and written in one', () => {
  expect(formatDigest(parseDigest(`SHA256:${'AB'.repeat(32)}`))).toBe(`sha256:${'ab'.repeat(32)}`);
});

test.each([
  '',
  'sha256',
  'sha256:',
  'sha256:12',
  `sha1:${'a'.repeat(40)}`,
  `sha256:${'g'.repeat(64)}`,
  `:${'a'.repeat(64)}`,
])('the digest "%s" is refused with the form that is wanted', (text) => {
  expect(() => parseDigest(text)).toThrow(
    expect.toSatisfy((error) => isHawserError(error, 'bad-request') && error.message.includes('algorithm:hex')),
  );
});

test('leaves: none for nothing, one more for each begun block', () => {
  expect([0, 1, TREE_BLOCK, TREE_BLOCK + 1].map(leafCount)).toEqual([0, 1, 1, 2]);
});
