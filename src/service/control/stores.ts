import { HawserError } from '../../core/errors.ts';
import type { Context } from './context.ts';
import { storeView } from './leaving.ts';
import type { StoreUseCases } from './use-cases.ts';
import { touchPlace } from './views.ts';

/** Everybody sees the Stores, since uploads may name one; only admins change them. */
export function createStores(context: Context): StoreUseCases {
  const { db } = context;
  return {
    list: async () => Promise.all((await db.stores.list()).map((store) => storeView(context, store))),
    change: async (actor, id, change) => {
      if (actor.role !== 'admin') throw new HawserError('forbidden', 'Only an administrator changes a store.');
      const before = await db.stores.find(id);
      if (before === undefined) throw new HawserError('not-found', 'There is no such store; see the list of stores.');
      await db.stores.change(id, change);
      await db.audit.append({ actor: actor.user, action: 'store.change', subject: id, detail: { ...change } });
      touchPlace(context, { storeId: id, hostId: before.hostId });
      context.tend();
      return storeView(context, (await db.stores.find(id)) ?? before);
    },
  };
}
