import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { treeOf } from '../../engine/testing/rig.ts';
import { hostStage } from './testing/host-stage.ts';

const MiB = 1024 * 1024;

/** Data, a hole, data, a hole of zeros, and a short last block. */
function sample(): Buffer {
  const bytes = Buffer.alloc(23 * MiB + 12_345);
  randomBytes(3 * MiB).copy(bytes, 0);
  randomBytes(5 * MiB + 777).copy(bytes, 6 * MiB + 100);
  randomBytes(1000).copy(bytes, bytes.length - 1000);
  return bytes;
}

test('an agent fetches a copy from the data listener of another: the same bytes, the same tree', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const bytes = sample();
  const copy = await from.sealed(bytes);
  const ref = await to.open({ declaredSize: bytes.length });
  const first = await to.pull(ref, await from.sourceFor(copy));
  expect(first.pull).toBe('running');
  const { sealed } = await to.finish(ref, copy.treeDigest);
  expect(sealed?.treeDigest).toBe(treeOf(bytes));
  expect((await to.content(ref.storeId, ref.key)).equals(bytes)).toBe(true);
  expect(to.slabs.inUse).toBe(0);
});
