import { type Kysely, sql } from 'kysely';
import type { StoreRecord } from '../core/nouns.ts';
import type { StoreRecords } from '../service/control/ports.ts';
import { columnsOf, namedApart } from './hosts.ts';
import type { Tables } from './tables.ts';

export function createStoreRecords(db: Kysely<Tables>): StoreRecords {
  return { ...stores(db), ...hosts(db) };
}

function described(db: Kysely<Tables>) {
  return db
    .selectFrom('stores as s')
    .innerJoin('hosts as h', 'h.id', 's.host_id')
    .where('h.removed_at', 'is', null)
    .select(['s.id', 's.name', 's.driver', 's.host_id', 'h.name as host_name', 'h.online', 's.problem', 's.enabled'])
    .select(['s.evicting', 's.tags', 'h.tags as host_tags', 'h.enabled as host_enabled', 'h.evicting as host_evicting'])
    .select(['h.outdated'])
    .select(['s.filesystem', 's.capacity', 's.free', 's.seen_at'])
    .select(
      sql<number>`(select count(*)::int from copies c where c.store_id = s.id and c.state <> 'removed')`.as(
        'copy_count',
      ),
    )
    .select(
      // What was promised less what was written already: zeros take no space. Two Stores on one filesystem
      // have the same free space, so what one of them was promised the other one does not have.
      sql<number>`(select coalesce(sum(greatest(0, u.reserved - (u.received_bytes - u.zero_bytes))), 0)::bigint
        from uploads u join stores b on b.id = u.store_id
        where b.host_id = s.host_id and (b.id = s.id or b.filesystem = s.filesystem)
          and u.state in ('open', 'paused', 'finishing'))`.as('reserved'),
    )
    .orderBy('s.name')
    .orderBy('s.id');
}

function stores(db: Kysely<Tables>): Pick<StoreRecords, 'list' | 'find' | 'lockAll' | 'change' | 'saveStores'> {
  return {
    list: async () => (await described(db).execute()).map(storeOf),
    find: async (id) => {
      const row = await described(db).where('s.id', '=', id).executeTakeFirst();
      return row && storeOf(row);
    },
    lockAll: async () => {
      await db.selectFrom('stores').select('id').orderBy('id').forNoKeyUpdate().execute();
      return (await described(db).execute()).map(storeOf);
    },
    change: async (id, { enabled, evicting, tags }) => {
      const values = {
        ...(enabled === undefined ? {} : { enabled }),
        ...(evicting === undefined ? {} : { evicting }),
        ...(tags === undefined ? {} : { tags: JSON.stringify(tags) }),
      };
      if (Object.keys(values).length > 0) await db.updateTable('stores').set(values).where('id', '=', id).execute();
    },
    saveStores: async (seen) => {
      const before = new Map(
        (
          await db
            .selectFrom('stores')
            .select(['id', 'host_id', 'name', 'capacity', 'free', 'problem', 'filesystem'])
            .where('id', 'in', ['00000000-0000-0000-0000-000000000000', ...seen.map((store) => store.storeId)])
            .execute()
        ).map(({ id, ...facts }) => [id, facts]),
      );
      const changed: string[] = [];
      for (const store of [...seen].sort((a, b) => (a.storeId < b.storeId ? -1 : 1))) {
        const facts = {
          host_id: store.hostId,
          name: store.name,
          driver: store.driver,
          capacity: store.capacity,
          free: store.free,
          problem: store.problem,
          filesystem: store.filesystem ?? null,
        };
        const known = before.get(store.storeId);
        const now = { ...facts, seen_at: sql<Date>`now()` };
        const taken = await db
          .insertInto('stores')
          .values({ id: store.storeId, ...now, tags: JSON.stringify(store.tags) })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(now).where(mayReport(store.hostId)))
          .returning('id')
          .executeTakeFirst();
        if (taken === undefined) continue;
        if (known === undefined || keys(known).some((key) => known[key] !== facts[key])) changed.push(store.storeId);
      }
      return changed;
    },
  };
}

/** A disk may be moved to another host; but nobody claims one that its own host, which is there, still has. */
function mayReport(hostId: string) {
  return sql<boolean>`(stores.host_id = ${hostId}::uuid or stores.problem is not null or not exists
    (select 1 from hosts h where h.id = stores.host_id and h.online and h.removed_at is null))`;
}

function hosts(db: Kysely<Tables>): Pick<StoreRecords, 'saveHost' | 'heard' | 'markSilent' | 'dataListener'> {
  return {
    saveHost: async (host) => {
      const now = { ...columnsOf(await namedApart(db, host)), online: true, seen_at: sql<Date>`now()` };
      await db
        .insertInto('hosts')
        .values({ id: host.hostId, ...now, tags: JSON.stringify(host.tags) })
        // A process that was replaced does not put its own addresses back.
        .onConflict((conflict) =>
          conflict
            .column('id')
            .doUpdateSet(now)
            .where('hosts.generation', '<=', host.generation ?? LAST_GENERATION),
        )
        .execute();
    },
    heard: async (hostId) => {
      await db.updateTable('hosts').set({ online: true, seen_at: sql<Date>`now()` }).where('id', '=', hostId).execute();
    },
    markSilent: async (seconds) => {
      const rows = await db
        .updateTable('hosts')
        .set({ online: false })
        .where('online', '=', true)
        .where('seen_at', '<', sql<Date>`now() - make_interval(secs => ${seconds})`)
        .returning('id')
        .execute();
      return rows.map((row) => row.id);
    },
    dataListener: async (hostId) => {
      const row = await db
        .selectFrom('hosts')
        .select(['data_urls', 'data_ca', 'agent_url', 'key_hash'])
        .where('id', '=', hostId)
        .executeTakeFirst();
      if (row === undefined) return undefined;
      const { data_urls: urls, data_ca: ca } = row;
      // Who joined tells of an authority only when its certificate is of the agents'; a serve tells of its own certificate.
      const host = ca === null || row.agent_url === null ? null : { id: hostId, keyHash: row.key_hash };
      return { urls, ca, host };
    },
  };
}

function keys<T extends object>(facts: T): readonly (keyof T)[] {
  return Object.keys(facts) as (keyof T)[];
}

/** Who never joined is never replaced. */
const LAST_GENERATION = 2 ** 31 - 1;

type StoreRow = Awaited<ReturnType<ReturnType<typeof described>['execute']>>[number];

function storeOf(row: StoreRow): StoreRecord {
  const state = row.online ? (row.problem === null ? 'online' : 'failed') : 'offline';
  return {
    id: row.id,
    name: row.name,
    driver: row.driver,
    hostId: row.host_id,
    hostName: row.host_name,
    state,
    status: row.online ? (row.problem ?? '') : `The host ${row.host_name} does not answer.`,
    enabled: row.enabled,
    evicting: row.evicting,
    tags: row.tags,
    unschedulable: unschedulable(row),
    hostTags: row.host_tags,
    filesystem: row.filesystem,
    copyCount: row.copy_count,
    capacity: row.capacity,
    free: row.free,
    reserved: row.reserved,
    seenAt: row.seen_at,
  };
}

function unschedulable(row: StoreRow): string | null {
  if (row.outdated !== null) return row.outdated;
  if (!row.online) return `The host ${row.host_name} does not answer.`;
  if (row.problem !== null) return row.problem;
  if (row.host_evicting) return `The host ${row.host_name} is being drained.`;
  if (!row.host_enabled) return `The host ${row.host_name} is disabled.`;
  if (row.evicting) return 'The store is being evicted.';
  return row.enabled ? null : 'The store is disabled.';
}
