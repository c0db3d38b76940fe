import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TREE_BLOCK } from '../core/digest.ts';
import { LeafTable } from './leaf-table.ts';
import type { Hashing } from './ports.ts';

const hashing: Hashing = {
  sha256: async (views) => views.map((view) => createHash('sha256').update(view).digest()),
  async sha256Of(parts) {
    const whole = createHash('sha256');
    for (const part of parts) whole.update(part);
    return whole.digest();
  },
  allocate: (length) => new Uint8Array(length),
};

test('the tree digest is the one of core/digest, blocks that were never set being zeros', async () => {
  const zeros = createHash('sha256').update(Buffer.alloc(TREE_BLOCK)).digest();
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3000 }),
      fc.array(fc.nat(2999), { maxLength: 20 }),
      async (count, set) => {
        const table = new LeafTable();
        const plain = Array.from({ length: count }, () => zeros);
        for (const index of set) {
          const leaf = createHash('sha256').update(String(index)).digest();
          table.set(index, leaf);
          if (index < count) plain[index] = leaf;
        }
        const wanted = createHash('sha256').update(Buffer.concat(plain)).digest('hex');
        expect(await table.treeDigest(count * TREE_BLOCK, hashing)).toBe(wanted);
        const [first, last] = [Math.floor(count / 3), Math.floor((count * 2) / 3)];
        const part = createHash('sha256')
          .update(Buffer.concat(plain.slice(first, last)))
          .digest('hex');
        const range = { offset: first * TREE_BLOCK, length: (last - first) * TREE_BLOCK };
        expect(await table.rangeDigest(range, hashing)).toBe(part);
      },
    ),
    { numRuns: 30 },
  );
});
