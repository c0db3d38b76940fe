import { createHash } from 'node:crypto';
import type { ByteSink } from '../../core/bytes.ts';
import { LEAF_BYTES } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';
import type { EngineMeans } from '../../engine/incoming.ts';
import type { RateLimit } from '../../engine/rate-limit.ts';
import { sendRange } from '../../engine/send.ts';
import type { CopyReader } from './data-plane.ts';
import type { HostStore, StateFolder } from './ports.ts';

export interface HostCopiesParts {
  readonly stores: ReadonlyMap<string, HostStore>;
  readonly state: StateFolder;
  readonly means: EngineMeans;
  readonly totalLimit: RateLimit | undefined;
}

/** Sealed objects of this host, for reading, and their removal. */
export class HostCopies {
  readonly #parts: HostCopiesParts;
  /** Leaves of what is being read, so that many ranges of one copy read them once; weak, a reader keeps them. */
  readonly #leaves = new Map<string, WeakRef<Leaves>>();

  constructor(parts: HostCopiesParts) {
    this.#parts = parts;
  }

  async open(storeId: string, key: string): Promise<CopyReader> {
    const { store } = this.store(storeId);
    await using undo = new AsyncDisposableStack();
    const reader = undo.use(await store.open(key));
    const stat = await store.stat(key);
    const leaves = await this.#leavesOf(storeId, key, reader.fingerprint);
    const { slabs, sender } = this.#parts.means;
    const limit = this.#parts.totalLimit;
    undo.move();
    return {
      size: reader.size,
      storedSize: stat.kind === 'sealed' ? stat.storedSize : 0,
      fingerprint: reader.fingerprint,
      treeDigest: leaves?.treeDigest,
      extents: (range) => reader.extents(range),
      leaves: (first, count) =>
        leaves?.bytes.subarray(first * LEAF_BYTES, (first + count) * LEAF_BYTES) ?? Buffer.alloc(0),
      send: (range, sink: ByteSink, signal) => sendRange({ reader, range, slabs, sender, limit }, sink, signal),
      [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
    };
  }

  async remove(storeId: string, key: string): Promise<void> {
    await this.store(storeId).store.remove(key);
    await this.#parts.state.removeLeaves(storeId, key);
    this.#leaves.delete(`${storeId}/${key}`);
  }

  store(storeId: string): HostStore {
    const store = this.#parts.stores.get(storeId);
    if (store === undefined) throw new HawserError('not-found', 'This host has no such store.');
    return store;
  }

  async #leavesOf(storeId: string, key: string, fingerprint: string): Promise<Leaves | undefined> {
    const name = `${storeId}/${key}`;
    const cached = this.#leaves.get(name)?.deref();
    if (cached?.fingerprint === fingerprint) return cached;
    const bytes = await this.#parts.state.readLeaves(storeId, key);
    if (bytes === undefined) return undefined;
    const leaves = { fingerprint, bytes, treeDigest: createHash('sha256').update(bytes).digest('hex') };
    this.#leaves.set(name, new WeakRef(leaves));
    return leaves;
  }
}

interface Leaves {
  readonly fingerprint: string;
  readonly bytes: Buffer;
  readonly treeDigest: string;
}
