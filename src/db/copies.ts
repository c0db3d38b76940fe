import { type Kysely, sql } from 'kysely';
import { isTerminal, statesOf, taskStates } from '../core/states.ts';
import type { CopyRecords } from '../service/control/copy-ports.ts';
import { copyQuery } from './images.ts';
import { copyOf } from './rows.ts';
import type { Tables } from './tables.ts';

export function createCopyRecords(db: Kysely<Tables>): CopyRecords {
  return { ...places(db), ...leaving(db), ...checks(db), ...lists(db), ...tries(db) };
}

const ended = statesOf(taskStates).filter((state) => isTerminal(taskStates, state));

function places(db: Kysely<Tables>): Pick<CopyRecords, 'of' | 'inUse'> {
  return {
    of: async (imageId) => {
      const rows = await copyQuery(db)
        .where('c.image_id', '=', imageId)
        .select(sql<boolean>`h.online and s.problem is null`.as('online'))
        .select(sql<boolean>`s.evicting or h.evicting`.as('evicting'))
        .orderBy('c.id')
        .execute();
      return rows.map((row) => ({
        ...copyOf(row),
        online: row.online,
        evicting: row.evicting,
      }));
    },
    inUse: async (imageId) => {
      const rows = await db
        .selectFrom('copies as c')
        .select('c.id')
        .where('c.image_id', '=', imageId)
        .where((of) =>
          of.or([
            of.exists(
              of
                .selectFrom('uploads as u')
                .select('u.id')
                .whereRef('u.from_copy', '=', 'c.id')
                .where('u.state', 'in', ['open', 'finishing']),
            ),
            of.exists(
              of
                .selectFrom('tasks as t')
                .select('t.id')
                .where('t.image_id', '=', imageId)
                .where('t.state', 'not in', ended)
                .where(sql<boolean>`t.work ->> 'storeId' = c.store_id::text and t.work ->> 'key' = c.key`),
            ),
          ]),
        )
        .execute();
      return new Set(rows.map((row) => row.id));
    },
  };
}

function leaving(db: Kysely<Tables>): Pick<CopyRecords, 'leaving' | 'known'> {
  return {
    known: async (imageId, ids) => {
      if (ids.length === 0) return new Set();
      const rows = await db
        .selectFrom('copies')
        .select('id')
        .where('image_id', '=', imageId)
        .where('id', 'in', [...ids])
        .execute();
      return new Set(rows.map((row) => row.id));
    },
    leaving: async (place, limit) => {
      const rows = await copyQuery(db)
        .clearOrderBy()
        .where('c.state', '!=', 'removed')
        .where((of) => ('hostId' in place ? of('s.host_id', '=', place.hostId) : of('s.id', '=', place.storeId)))
        .select(['h.online', 'ci.state as image_state', 'ci.status as image_status'])
        .orderBy(sql`case when ci.state = 'failed' then 1 when ci.status <> '' then 0 else 2 end`)
        .orderBy('c.id')
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        id: row.id,
        imageId: row.image_id,
        state: row.state,
        imageState: row.image_state,
        imageStatus: row.image_status,
        online: row.online,
      }));
    },
  };
}

function checks(db: Kysely<Tables>): Pick<CopyRecords, 'now' | 'away' | 'toCheck' | 'setChecked' | 'setAbsent'> {
  return {
    now: async () => {
      const { rows } = await sql<{ now: Date }>`select date_trunc('milliseconds', now()) as now`.execute(db);
      const [row] = rows;
      if (row === undefined) throw new Error('select now() gave no row');
      return row.now;
    },
    away: async (seconds, limit) => {
      const rows = await copyQuery(db)
        .where('c.state', '=', 'ready')
        .where('h.online', '=', false)
        .where('h.seen_at', '<', sql<Date>`now() - make_interval(secs => ${seconds})`)
        .limit(limit)
        .execute();
      return rows.map(copyOf);
    },
    toCheck: async (hostId, { before, at }, limit) => {
      const rows = await copyQuery(db)
        .clearOrderBy()
        .where('s.host_id', '=', hostId)
        .where(sql<boolean>`(c.state in ('ready', 'unknown') or (c.state = 'failed' and c.absent))`)
        .where((of) =>
          of.or([of('c.checked_at', 'is', null), of('c.checked_at', '<', before), of('c.checked_at', '>', at)]),
        )
        .select('ci.state as image_state')
        .orderBy('c.checked_at', (order) => order.asc().nullsFirst())
        .limit(limit)
        .execute();
      return rows.map((row) => ({ ...copyOf(row), imageState: row.image_state }));
    },
    setAbsent: async (id, absent) => {
      await db.updateTable('copies').set({ absent }).where('id', '=', id).execute();
    },
    setChecked: async (ids, at) => {
      if (ids.length === 0) return;
      await db
        .updateTable('copies')
        .set({ checked_at: at })
        .where('id', 'in', [...ids])
        .execute();
    },
  };
}

/** Copies that count, or will, and stay where they are. */
const staying = sql<number>`(select count(*) from copies c join stores s on s.id = c.store_id join hosts h on h.id = s.host_id
  where c.image_id = i.id and c.state in ('ready', 'pending', 'in-progress') and not (s.evicting or h.evicting))`;

function lists(db: Kysely<Tables>): Pick<CopyRecords, 'imagesToTend' | 'lostDownloads'> {
  return {
    imagesToTend: async (at, after, limit) => {
      const rows = await db
        .selectFrom('images as i')
        .select('i.id')
        .where('i.state', '=', 'ready')
        .where(
          sql<boolean>`(i.status <> '' or ${staying} < i.min_copies or exists (select 1 from copies c
            join stores s on s.id = c.store_id join hosts h on h.id = s.host_id where c.image_id = i.id
            and (c.state = 'failed' or (c.state in ('ready', 'unknown') and (s.evicting or h.evicting)))))`,
        )
        .where(
          sql<boolean>`not exists (select 1 from copies c where c.image_id = i.id and c.retry_at > ${at}
            and c.state in ('failed', 'removing', 'removed'))`,
        )
        .$if(after !== undefined, (query) => query.where('i.id', '>', after ?? ''))
        .orderBy('i.id')
        .limit(limit)
        .execute();
      return rows.map((row) => row.id);
    },
    lostDownloads: async (limit) => {
      const rows = await db
        .selectFrom('images as i')
        .innerJoin('uploads as u', 'u.id', 'i.upload_id')
        .select('i.id')
        .where('i.state', '=', 'failed')
        .where('i.origin', '=', 'download')
        .where('i.ready_at', 'is not', null)
        .where('u.state', '=', 'sealed')
        .where(
          sql<boolean>`not exists (select 1 from copies c where c.image_id = i.id
            and c.state in ('ready', 'unknown', 'pending', 'in-progress'))`,
        )
        .limit(limit)
        .execute();
      return rows.map((row) => row.id);
    },
  };
}

function tries(db: Kysely<Tables>): Pick<CopyRecords, 'tries' | 'tried' | 'setRetry' | 'claimPull'> {
  return {
    tries: async (imageId) => {
      const row = await db
        .selectFrom('copies')
        .select('tries')
        .where('image_id', '=', imageId)
        .where('retry_at', 'is not', null)
        .orderBy('created_at', 'desc')
        .limit(1)
        .executeTakeFirst();
      return row?.tries ?? 0;
    },
    tried: async (copyId) => {
      const row = await db.selectFrom('copies').select('tries').where('id', '=', copyId).executeTakeFirst();
      return row?.tries ?? 0;
    },
    setRetry: async (copyId, count, retryAt) => {
      await db.updateTable('copies').set({ tries: count, retry_at: retryAt }).where('id', '=', copyId).execute();
    },
    claimPull: async (copyId, at, seconds) => {
      const until = new Date(at.getTime() + seconds * 1000);
      const row = await db
        .updateTable('copies')
        .set({ retry_at: until })
        .where('id', '=', copyId)
        .where('state', 'in', ['pending', 'in-progress'])
        .where((of) => of.or([of('retry_at', 'is', null), of('retry_at', '<=', at)]))
        .returning('id')
        .executeTakeFirst();
      return row !== undefined;
    },
  };
}
