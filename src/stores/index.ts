import { openFileStore } from './file/store.ts';
import { openMemoryStore } from './memory/store.ts';
import type { Store } from './store.ts';

/** A Store as the configuration describes it. */
export interface StoreConfig {
  readonly driver: 'file' | 'memory';
  readonly name: string;
  /** Folder of a `file` Store. */
  readonly path: string;
  /** Bytes a `memory` Store may hold; 1 GiB unless said. */
  readonly capacity?: number;
}

/** The list of drivers. Throws `store-failed` when the place cannot be used. */
export async function openStore(config: StoreConfig): Promise<Store> {
  switch (config.driver) {
    case 'file':
      return openFileStore({ name: config.name, path: config.path });
    case 'memory':
      return openMemoryStore({ name: config.name, capacity: config.capacity ?? MEMORY_CAPACITY });
  }
}

const MEMORY_CAPACITY = 1024 * 1024 * 1024;
