import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ByteSource } from '../../core/bytes.ts';
import { leafCount, TREE_BLOCK } from '../../core/digest.ts';
import type { Mover } from '../../core/mover.ts';
import { bootDigest, JournalFile } from '../../host/journal-file.ts';
import { openMemoryStore } from '../../stores/memory/store.ts';
import type { Store } from '../../stores/store.ts';
import { HashPool } from '../hash-pool.ts';
import { type EngineMeans, Incoming } from '../incoming.ts';
import { SlabPool } from '../slab-pool.ts';

type StoreOf = (folder: string) => Promise<Store>;

const inMemory: StoreOf = async () => openMemoryStore({ name: 'test', capacity: 256 * 1024 * 1024 });

/** A real journal file, a memory Store, real hash threads: all an Upload stands on, for tests of the engine. */
export interface Rig extends AsyncDisposable {
  readonly means: EngineMeans;
  readonly store: Store;
  readonly key: string;
  readonly journalPath: string;
  incoming: Incoming;
  /** Closes without goodbye and takes it up again. */
  reopen(bootId?: string): Promise<Incoming>;
}

export async function makeRig(slabs = 8, storeOf: StoreOf = inMemory, mover?: Mover): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-engine-'));
  const hashes = new HashPool(2);
  const means: EngineMeans = { slabs: new SlabPool(slabs), hashes, mover };
  const store = await storeOf(join(folder, 'store'));
  const key = randomUUID();
  const journalPath = join(folder, 'journal');
  let journal = await JournalFile.open(journalPath);
  let writer = await store.create({ key });
  const rig: Rig = {
    means,
    store,
    key,
    journalPath,
    incoming: await Incoming.open({ writer, journal, means, boot: bootDigest('one') }),
    async reopen(bootId = 'one') {
      await rig.incoming.quiet();
      await writer[Symbol.asyncDispose]();
      await journal[Symbol.asyncDispose]();
      journal = await JournalFile.open(journalPath);
      writer = await store.reopen(key);
      rig.incoming = await Incoming.open({ writer, journal, means, boot: bootDigest(bootId) });
      return rig.incoming;
    },
    async [Symbol.asyncDispose]() {
      await rig.incoming.quiet();
      await journal[Symbol.asyncDispose]();
      await hashes[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return rig;
}

/** A source that hands over `bytes` in pieces of `step`; `failAt` breaks it off there. */
export function sourceOf(bytes: Uint8Array, step = 65_536, failAt = Number.POSITIVE_INFINITY): ByteSource {
  return {
    async drain(take, signal) {
      for (let at = 0; at < bytes.length; at += step) {
        signal.throwIfAborted();
        if (at >= failAt) throw new Error('cut');
        // A copy that is spoiled afterwards: the taker must not keep it.
        const chunk = Buffer.from(bytes.subarray(at, Math.min(at + step, bytes.length)));
        await take(chunk);
        chunk.fill(0xee);
      }
    },
  };
}

/** tree-sha256 as its definition says, hex. */
export function treeOf(bytes: Uint8Array): string {
  const outer = createHash('sha256');
  for (let i = 0; i < leafCount(bytes.length); i++) {
    outer.update(
      createHash('sha256')
        .update(bytes.subarray(i * TREE_BLOCK, (i + 1) * TREE_BLOCK))
        .digest(),
    );
  }
  return outer.digest('hex');
}
