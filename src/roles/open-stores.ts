import { randomUUID } from 'node:crypto';
import type { Config } from '../config/schema.ts';
import { isHawserError } from '../core/errors.ts';
import type { StoreCounts } from '../doors/api/metrics.ts';
import type { DataFolder, HostIdentity } from '../host/data-folder.ts';
import { checkStoreFolder, markStoreFolder } from '../host/store-marker.ts';
import type { HostLog, HostStore } from '../service/host/ports.ts';
import { refusedStore } from '../service/host/refused-store.ts';
import { openStore } from '../stores/index.ts';
import { withCount } from '../stores/layers/count.ts';
import type { Store } from '../stores/store.ts';

type StoreConfig = Config['stores'][number];

export interface OpenedStores {
  readonly stores: readonly HostStore[];
  /** For metrics. */
  readonly counts: readonly StoreCounts[];
  readonly identity: HostIdentity;
}

/** The Stores of the configuration. One whose filesystem is not mounted is there and says so. */
export async function openStores(config: Config, folder: DataFolder, log: HostLog): Promise<OpenedStores> {
  const wanted =
    config.stores.length > 0
      ? config.stores
      : [{ name: 'default', driver: 'file' as const, path: folder.at('stores', 'default'), tags: [] }];
  const identity = await folder.identity(
    wanted.map(({ name }) => name),
    randomUUID,
    config.host.name,
  );
  const stores: HostStore[] = [];
  const counts: StoreCounts[] = [];
  for (const one of wanted) {
    const storeId = identity.stores[one.name] ?? randomUUID();
    const { store, count } = withCount(await open(one, { storeId, folder, log }));
    counts.push({ name: one.name, count });
    stores.push({ storeId, name: one.name, store, tags: one.tags });
  }
  return { stores, counts, identity };
}

interface Place {
  readonly storeId: string;
  readonly folder: DataFolder;
  readonly log: HostLog;
}

async function open({ name, driver, path: given }: StoreConfig, { storeId, folder, log }: Place): Promise<Store> {
  const path = given === '' ? folder.at('stores', name) : given;
  if (driver !== 'file') return openStore({ driver, name, path });
  const marked = { name, storeId, path, record: folder.at('agent', 'stores', storeId) };
  try {
    await checkStoreFolder(marked);
  } catch (error) {
    if (!isHawserError(error, 'store-failed')) throw error;
    log.warn({ event: 'store.refused', storeId, name, reason: error.message });
    return refusedStore(driver, error);
  }
  const store = await openStore({ driver, name, path });
  await markStoreFolder(marked);
  return store;
}
