import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileStoreOptions, openFileStore } from '../../src/stores/file/store.ts';
import { openMemoryStore } from '../../src/stores/memory/store.ts';
import type { Store } from '../../src/stores/store.ts';
import { MiB, type StorePlace } from './store-content.ts';

/** A `file` Store in a new folder below `below`, which goes with it. */
export async function filePlace(below = tmpdir(), options: Partial<FileStoreOptions> = {}): Promise<StorePlace> {
  await mkdir(below, { recursive: true });
  const path = await mkdtemp(join(below, 'hawser-store-'));
  const open = () => openFileStore({ name: 'test', path, ...options });
  const store = await open();
  return {
    store,
    restart: open,
    async [Symbol.asyncDispose]() {
      await store.close();
      await rm(path, { recursive: true, force: true });
    },
  };
}

export async function memoryPlace(capacity = 512 * MiB): Promise<StorePlace> {
  const store = openMemoryStore({ name: 'test', capacity });
  return { store, [Symbol.asyncDispose]: () => store.close() };
}

export function placeIn(layer: (store: Store) => Store, make: () => Promise<StorePlace>): () => Promise<StorePlace> {
  return async () => {
    const place = await make();
    const { restart } = place;
    return {
      store: layer(place.store),
      ...(restart === undefined ? {} : { restart: async () => layer(await restart()) }),
      [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
    };
  };
}
