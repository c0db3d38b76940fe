import type { StoreResource } from '../../contract/api/store.ts';
import type { StoreRecord } from '../../core/nouns.ts';

export function storeResourceOf(store: StoreRecord): StoreResource {
  return {
    id: store.id,
    name: store.name,
    driver: store.driver,
    hostId: store.hostId,
    hostName: store.hostName,
    state: store.state,
    status: store.status,
    enabled: store.enabled,
    evicting: store.evicting,
    tags: [...store.tags],
    unschedulable: store.unschedulable,
    copyCount: store.copyCount,
    filesystem: store.filesystem,
    capacity: store.capacity,
    free: store.free,
    reserved: store.reserved,
    seenAt: store.seenAt?.toISOString() ?? null,
  };
}
