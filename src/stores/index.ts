import { openFileStore } from './file/store.ts';
import type { Store } from './store.ts';

/** A Store as the configuration describes it. */
export interface StoreConfig {
  readonly driver: 'file' | 'memory';
  readonly name: string;
  /** Folder of a `file` Store. */
  readonly path: string;
}

/** The list of drivers. Throws `store-failed` when the place cannot be used. */
export async function openStore(config: StoreConfig): Promise<Store> {
  switch (config.driver) {
    case 'file':
      return openFileStore({ name: config.name, path: config.path });
    case 'memory':
      throw new Error('not yet');
  }
}
