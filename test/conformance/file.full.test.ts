import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { type Component, testWith } from '../needs.ts';
import { type LoopFilesystem, type LoopOptions, mountLoop } from './loop-filesystem.ts';
import { storeConformance } from './store-conformance.ts';
import { MiB, type StorePlace } from './store-content.ts';
import { filePlace } from './store-places.ts';

/** Pairwise: each filesystem, each sector size with the two that care, the common one with both. */
const combinations = [
  { filesystem: 'ext4', sectorSize: 512 },
  { filesystem: 'ext4', sectorSize: 4096 },
  { filesystem: 'xfs', sectorSize: 4096 },
  { filesystem: 'btrfs', sectorSize: 512 },
] as const satisfies readonly Omit<LoopOptions, 'size'>[];

const components = { ext4: 'mke2fs', xfs: 'xfs', btrfs: 'btrfs' } as const satisfies Record<string, Component>;

/** What mkfs takes as the least, so that it fills quickly: xfs refuses below 300 MiB. */
const small = { ext4: 64 * MiB, xfs: 300 * MiB, btrfs: 128 * MiB } as const;

for (const { filesystem, sectorSize } of combinations) {
  let mounted: Promise<LoopFilesystem> | undefined;
  // Mounted by the first test that runs, so that skipped ones need no root.
  const mount = () => {
    mounted ??= mountLoop({ filesystem, sectorSize, size: 2048 * MiB });
    return mounted;
  };
  afterAll(async () => (await mounted?.catch(() => undefined))?.[Symbol.asyncDispose]());

  storeConformance(`file on ${filesystem}, ${sectorSize}-byte sectors`, {
    test: testWith('loop', components[filesystem]),
    make: async () => filePlace((await mount()).path),
    makeSmall: (bytes) => smallPlace({ filesystem, sectorSize, size: small[filesystem] }, bytes),
    runs: 40,
  });
}

/** A filesystem of its own, filled with ballast until about `bytes` are left: so that it is really full. */
async function smallPlace(options: LoopOptions, bytes: number): Promise<StorePlace> {
  await using undo = new AsyncDisposableStack();
  const filesystem = undo.use(await mountLoop(options));
  const ballast = await mkdtemp(join(filesystem.path, 'ballast-'));
  undo.defer(() => rm(ballast, { recursive: true, force: true }));
  const place = undo.use(await filePlace(filesystem.path));
  const { free } = await place.store.usage();
  if (free > bytes) {
    const filler = undo.use(await filePlace(ballast));
    undo.use(await filler.store.create({ key: 'ballast', size: free - bytes, preallocate: true }));
  }
  const cleanup = undo.move();
  return { store: place.store, [Symbol.asyncDispose]: () => cleanup.disposeAsync() };
}

testWith('loop', 'mke2fs')(
  'after a flush that failed nothing is flushed or sealed, as the kernel may have dropped bytes',
  async () => {
    await using filesystem = await mountLoop({ filesystem: 'ext4', sectorSize: 512, size: 512 * MiB, thin: 96 * MiB });
    await using place = await filePlace(filesystem.path);
    await using writer = await place.store.create({ key: 'k', size: 400 * MiB });
    const bytes = new Uint8Array(MiB).fill(7);
    for (let i = 0; i < 300; i++) await writer.write(bytes, i * MiB);
    const lost = { details: { unsyncedLost: true } };
    await expect(writer.flush()).rejects.toMatchObject(lost);
    await expect(writer.flush()).rejects.toMatchObject(lost);
    await expect(writer.write(bytes, 0)).rejects.toMatchObject(lost);
    await expect(writer.seal(400 * MiB)).rejects.toMatchObject(lost);
    expect((await place.store.stat('k')).kind).toBe('writing');
  },
);
