import { removalRefusal } from '../../core/guards.ts';
import type { Host, StoreRecord } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import type { LeavingCopy } from './copy-ports.ts';

/** So many Copies are looked at for a reason; those that are known to be stuck come first. */
const LOOKED_AT = 5;

/** The Host as people see it: one that is being drained says what is left, and why the first of it stays. */
export async function hostView(context: Context, host: Host): Promise<Host> {
  if (!host.evicting || host.drained || host.state === 'removed') return host;
  const left = await leftText(context, { hostId: host.id }, host.copyCount);
  return { ...host, status: [host.status, left].filter((text) => text !== '').join(' ') };
}

/** The same of a Store that is being evicted. */
export async function storeView(context: Context, store: StoreRecord): Promise<StoreRecord> {
  if (!store.evicting || store.copyCount === 0) return store;
  const left = await leftText(context, { storeId: store.id }, store.copyCount);
  return { ...store, status: [store.status, left].filter((text) => text !== '').join(' ') };
}

type Place = { readonly hostId: string } | { readonly storeId: string };

async function leftText(context: Context, place: Place, count: number): Promise<string> {
  const left = count === 1 ? '1 copy is left to move.' : `${count} copies are left to move.`;
  for (const copy of await context.db.copies.leaving(place, LOOKED_AT)) {
    const why = await reasonOf(context, copy);
    if (why !== undefined) return `${left} ${why}`;
  }
  return left;
}

/**
 * Why it is still there, for people; undefined: it is just being moved. Everybody sees Hosts, so an Image of
 * somebody is told by its id.
 */
async function reasonOf({ db }: Context, copy: LeavingCopy): Promise<string | undefined> {
  const image = `image ${copy.imageId.slice(0, 8)}`;
  if (copy.state === 'removing') return copy.online ? undefined : `Bytes of ${image} go when the host is back.`;
  if (copy.imageState === 'failed') return `The ${image} has failed: make it anew, or remove it.`;
  if (copy.state === 'pending' || copy.state === 'in-progress' || copy.imageState !== 'ready') {
    return `The ${image} still arrives here; it is moved when it is whole.`;
  }
  if (copy.imageStatus !== '') return `The ${image} stays: ${copy.imageStatus}`;
  const [task] = (await db.tasks.list({ kind: 'replicate', imageId: copy.imageId, limit: 1 }, undefined)).items;
  if (task !== undefined && task.state !== 'SUCCESS' && task.state !== 'RUNNING' && task.state !== 'INITIATED') {
    return `The ${image} waits: ${task.status}`;
  }
  const found = await db.images.find(copy.imageId);
  const refusal = found && removalRefusal(found, new Set([copy.id]), await db.copies.inUse(copy.imageId));
  return refusal?.code === 'in-use' ? `The ${image} stays: ${refusal.reason}` : undefined;
}
