import { type Kysely, sql } from 'kysely';
import type { Host, HostState } from '../core/nouns.ts';
import type { HostRecords, HostSeen } from '../service/control/host-ports.ts';
import { createJoinTokenRecords } from './join-tokens.ts';
import type { Tables } from './tables.ts';

export function createHostRecords(db: Kysely<Tables>): HostRecords {
  return { ...readHosts(db), ...joinedHosts(db), ...changedHosts(db), ...createJoinTokenRecords(db), ...controls(db) };
}

/**
 * What a host calls itself; with the beginning of its id behind it when one that was there before is called the
 * same (a serve and an agent on one machine both have the machine's name).
 */
export async function namedApart(db: Kysely<Tables>, host: HostSeen): Promise<HostSeen> {
  const other = await db
    .selectFrom('hosts as o')
    .select('o.id')
    .where('o.name', '=', host.name)
    .where('o.id', '<>', host.hostId)
    .where('o.removed_at', 'is', null)
    .where(
      sql<boolean>`o.created_at < coalesce((select h.created_at from hosts h where h.id = ${host.hostId}), 'infinity')`,
    )
    .limit(1)
    .executeTakeFirst();
  return other === undefined ? host : { ...host, name: `${host.name}-${host.hostId.slice(0, 4)}` };
}

/** What a host says of itself, as columns; its tags count only when it is new. */
export function columnsOf(host: HostSeen) {
  return {
    name: host.name,
    boot_id: host.bootId,
    version: host.version,
    data_urls: JSON.stringify(host.dataUrls),
    data_ca: host.dataCa,
    agent_url: host.agentUrl,
    link_version: host.linkVersion,
  };
}

const liveUploads = sql`u.state in ('open', 'paused', 'finishing')`;

/** Several Stores on one filesystem have its space once. */
function ofFilesystems(column: 'capacity' | 'free') {
  return sql<number>`(select coalesce(sum(f.bytes), 0)::bigint from (select max(s.${sql.ref(column)}) as bytes
    from stores s where s.host_id = h.id group by coalesce(s.filesystem, s.id::text)) f)`;
}

function described(db: Kysely<Tables>) {
  return db
    .selectFrom('hosts as h')
    .selectAll('h')
    .select([
      sql<number>`(select count(*)::int from stores s where s.host_id = h.id)`.as('store_count'),
      sql<number>`(select count(*)::int from copies c join stores s on s.id = c.store_id
        where s.host_id = h.id and c.state <> 'removed')`.as('copy_count'),
      sql<number>`(select count(*)::int from uploads u join stores s on s.id = u.store_id
        where s.host_id = h.id and ${liveUploads})`.as('upload_count'),
      ofFilesystems('capacity').as('capacity'),
      ofFilesystems('free').as('free'),
      sql<boolean>`coalesce(h.heartbeat_at > now() - interval '15 seconds', false)`.as('heard'),
    ])
    .orderBy('h.name')
    .orderBy('h.id');
}

function readHosts(db: Kysely<Tables>): Pick<HostRecords, 'list' | 'find' | 'copies'> {
  return {
    list: async () => (await described(db).where('h.removed_at', 'is', null).execute()).map(hostOf),
    find: async (id) => {
      const row = await described(db).where('h.id', '=', id).executeTakeFirst();
      return row && hostOf(row);
    },
    copies: (hostId) =>
      db
        .selectFrom('copies as c')
        .innerJoin('stores as s', 's.id', 'c.store_id')
        .select(['c.id', 'c.image_id as imageId'])
        .where('s.host_id', '=', hostId)
        .where('c.state', '!=', 'removed')
        .execute(),
  };
}

function joinedHosts(db: Kysely<Tables>): Pick<HostRecords, 'join' | 'begin' | 'heartbeat'> {
  return {
    join: async (host, keyHash) => {
      const now = columnsOf(await namedApart(db, host));
      const row = await db
        .insertInto('hosts')
        .values({ id: host.hostId, ...now, tags: JSON.stringify(host.tags), key_hash: keyHash, online: false })
        .onConflict((conflict) =>
          conflict
            .column('id')
            .doUpdateSet({
              ...now,
              removed_at: null,
              outdated: null,
              key_hash: keyHash,
              generation: sql<number>`hosts.generation + 1`,
              // One that was taken out begins anew.
              enabled: sql<boolean>`hosts.enabled or hosts.removed_at is not null`,
              evicting: sql<boolean>`hosts.evicting and hosts.removed_at is null`,
            })
            .where(sql<boolean>`hosts.removed_at is not null or hosts.key_hash = ${keyHash}`),
        )
        .returning('generation')
        .executeTakeFirst();
      return row?.generation;
    },
    begin: async (hostId, { known, keyHash }) => {
      const row = await db
        .updateTable('hosts')
        // It counts as online once this process has reported over the link.
        .set({
          generation: sql<number>`greatest(generation, ${known}::integer) + 1`,
          online: false,
          key_hash: keyHash,
        })
        .where('id', '=', hostId)
        .where('removed_at', 'is', null)
        .where((of) => of.or([of('key_hash', 'is', null), of('key_hash', '=', keyHash)]))
        .returning('generation')
        .executeTakeFirst();
      return row?.generation;
    },
    heartbeat: async (host, generation, outdated) => {
      const now = { ...columnsOf(await namedApart(db, host)), generation, outdated };
      const before = await db
        .selectFrom('hosts')
        .select(['agent_url', 'data_urls', 'outdated', 'version', 'name', 'generation'])
        .where('id', '=', host.hostId)
        .executeTakeFirst();
      await db
        .updateTable('hosts')
        .set({ ...now, heartbeat_at: sql<Date>`now()` })
        .where('id', '=', host.hostId)
        .where('generation', '<=', generation)
        .execute();
      return (
        before?.agent_url !== now.agent_url ||
        JSON.stringify(before.data_urls) !== now.data_urls ||
        before.outdated !== outdated ||
        before.version !== now.version ||
        before.name !== now.name ||
        before.generation !== generation
      );
    },
  };
}

function changedHosts(db: Kysely<Tables>): Pick<HostRecords, 'change' | 'setOutdated' | 'remove'> {
  return {
    change: async (id, { enabled, evicting, tags }) => {
      const values = {
        ...(enabled === undefined ? {} : { enabled }),
        ...(evicting === undefined ? {} : { evicting }),
        ...(tags === undefined ? {} : { tags: JSON.stringify(tags) }),
      };
      if (Object.keys(values).length > 0) await db.updateTable('hosts').set(values).where('id', '=', id).execute();
    },
    setOutdated: async (id, outdated) => {
      await db.updateTable('hosts').set({ outdated }).where('id', '=', id).execute();
    },
    remove: async (id) => {
      await db.updateTable('hosts').set({ removed_at: sql<Date>`now()`, online: false }).where('id', '=', id).execute();
      await db.updateTable('join_tokens').set({ key_hash: null }).where('host_id', '=', id).execute();
      // Nobody is there to be told; if it joins again, its first report shows what it still has.
      await db
        .updateTable('uploads')
        .set({ duty: null })
        .where('duty', 'is not', null)
        .where('store_id', 'in', (of) => of.selectFrom('stores').select('id').where('host_id', '=', id))
        .execute();
      await db
        .updateTable('tasks')
        .set({ forget: false })
        .where('host_id', '=', id)
        .where('forget', '=', true)
        .execute();
    },
  };
}

function controls(db: Kysely<Tables>): Pick<HostRecords, 'saveControl' | 'removeControl' | 'controlUrls'> {
  return {
    saveControl: async (id, urls) => {
      const now = { urls: JSON.stringify(urls), seen_at: sql<Date>`now()` };
      await db
        .insertInto('controls')
        .values({ id, ...now })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(now))
        .execute();
      await db.deleteFrom('controls').where('seen_at', '<', sql<Date>`now() - interval '1 day'`).execute();
    },
    removeControl: async (id) => {
      await db.deleteFrom('controls').where('id', '=', id).execute();
    },
    controlUrls: async () => {
      const rows = await db
        .selectFrom('controls')
        .select('urls')
        .where('seen_at', '>', sql<Date>`now() - interval '1 minute'`)
        .orderBy('id')
        .execute();
      return [...new Set(rows.flatMap((row) => row.urls))];
    },
  };
}

type HostRow = Awaited<ReturnType<ReturnType<typeof described>['execute']>>[number];

function hostOf(row: HostRow): Host {
  const state = stateOf(row);
  return {
    id: row.id,
    name: row.name,
    state,
    status: statusOf(row, state),
    version: row.version,
    linkVersion: row.link_version,
    enabled: row.enabled,
    evicting: row.evicting,
    drained: row.evicting && row.copy_count === 0 && row.upload_count === 0,
    tags: row.tags,
    agentUrl: row.agent_url,
    dataUrls: row.data_urls,
    keyHash: row.key_hash,
    generation: row.generation,
    storeCount: row.store_count,
    copyCount: row.copy_count,
    capacity: row.capacity,
    free: row.free,
    seenAt: row.seen_at,
    createdAt: row.created_at,
  };
}

function stateOf(row: HostRow): HostState {
  if (row.removed_at !== null) return 'removed';
  if (row.outdated !== null) return 'outdated';
  return row.online ? 'online' : 'offline';
}

function statusOf(row: HostRow, state: HostState): string {
  if (state === 'removed') return 'It was taken out.';
  if (state === 'outdated') return row.outdated ?? '';
  if (state === 'online') return '';
  if (row.seen_at === null && row.agent_url === null) return 'It has joined; its agent has not reported yet.';
  if (!row.heard) return 'Its agent is not heard. Look whether the machine is up and hawser agent runs there.';
  return `Its agent gives signs of life but is not reached at ${row.agent_url ?? 'its address'}. Open that way, or set agentUrl on the host.`;
}
