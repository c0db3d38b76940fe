import { createHash, randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isPairOf, sha256Each } from './sha256.js';

const KIB = 1024;
const memory = randomFillSync(new Uint8Array(new SharedArrayBuffer(4096 * KIB)));
const sha256 = (view: Uint8Array) => createHash('sha256').update(view).digest('hex');
const hex = (digest: Uint8Array) => Buffer.from(digest).toString('hex');

test('two blocks are hashed at once where the processor has SHA instructions', () => {
  const hasThem = /\bsha_ni\b/.test(readFileSync('/proc/cpuinfo', 'latin1')) && process.arch === 'x64';
  expect(isPairOf(1024 * KIB, 1024 * KIB)).toBe(hasThem);
  expect(isPairOf(1024 * KIB, 1023 * KIB)).toBe(false);
  expect(isPairOf(1000 * KIB + 1, 1000 * KIB + 1)).toBe(false);
});

test('each view has its own digest, in order, however long they are and wherever they lie', () => {
  const length = fc.constantFrom(0, 1, 63, 64, 16 * KIB, 16 * KIB + 1, 64 * KIB, 256 * KIB);
  const view = fc.record({ length, at: fc.nat(3000 * KIB), own: fc.boolean() });
  fc.assert(
    fc.property(fc.array(view, { maxLength: 9 }), (cuts) => {
      const views = cuts.map(({ length, at, own }) => {
        const shared = memory.subarray(at, at + length);
        return own ? Uint8Array.from(shared) : shared;
      });
      expect(sha256Each(views).map(hex)).toEqual(views.map(sha256));
    }),
    { numRuns: 200 },
  );
});
