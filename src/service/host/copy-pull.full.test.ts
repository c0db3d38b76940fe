import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { sourceOf } from '../../engine/testing/rig.ts';
import { type HostStage, hostStage, never, type SealedCopy } from './testing/host-stage.ts';
import { relay } from './testing/relay.ts';

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const SIZE = 8 * GiB;
/** 64 runs of 8 MiB, none on a multiple of a MiB. */
const RUN = 8 * MiB - 8192;
const RUNS = 64;

async function sparseCopy(host: HostStage): Promise<SealedCopy> {
  const { uploadId, generation, storeId, key } = await host.open({ declaredSize: SIZE });
  let end = 0;
  for (let i = 0; i < RUNS; i++) {
    const offset = i * (SIZE / RUNS) + 4096;
    await host.agent.plane.zeros(uploadId, [{ offset: end, length: offset - end }]);
    const source = sourceOf(randomBytes(RUN), MiB);
    await host.agent.plane.receive(uploadId, { offset, length: RUN, total: null }, source, never);
    end = offset + RUN;
  }
  await host.agent.plane.zeros(uploadId, [{ offset: end, length: SIZE - end }]);
  const { sealed } = await host.agent.call('finishUpload', { uploadId, generation, size: null, treeDigest: null });
  return { storeId, key, size: SIZE, treeDigest: sealed?.treeDigest ?? '' };
}

test('8 GiB with 512 MiB of data: what travels is the data, and memory does not grow with it', async () => {
  await using from = await hostStage();
  await using to = await hostStage();
  const copy = await sparseCopy(from);
  await using wire = await relay(from.url);
  const ref = await to.open({ declaredSize: SIZE });
  const before = process.memoryUsage.rss();
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 50);
  await to.pull(ref, await from.sourceFor(copy, wire.url));
  const { sealed } = await to.finish(ref, copy.treeDigest);
  clearInterval(watch);
  expect(sealed).toMatchObject({ size: SIZE, treeDigest: copy.treeDigest });
  expect(sealed?.storedSize).toBeLessThan(RUNS * 9 * MiB);
  expect(wire.received()).toBeLessThan(RUNS * RUN * 1.05);
  // Both agents, the relay and the test in one process.
  expect(most - before).toBeLessThan(128 * MiB);
});
