import { type Expression, type Kysely, type SqlBool, sql } from 'kysely';
import { jsonArrayFrom } from 'kysely/helpers/postgres';
import { formatDigest } from '../core/digest.ts';
import type { ImageRecords } from '../service/control/ports.ts';
import { containing, pageOf, placeOf } from './page.ts';
import { copyOf, digestOrNull, imageOf } from './rows.ts';
import type { Tables } from './tables.ts';

export function createImageRecords(db: Kysely<Tables>): ImageRecords {
  return { ...reads(db), ...writes(db), ...placement(db), ...copies(db) };
}

function withCopies(db: Kysely<Tables>) {
  return db
    .selectFrom('images as i')
    .selectAll('i')
    .select((of) => jsonArrayFrom(copyQuery(db).whereRef('c.image_id', '=', of.ref('i.id'))).as('copies'));
}

/** Copies that were not removed, oldest first, as rows.ts reads them. */
export function copyQuery(db: Kysely<Tables>) {
  return db
    .selectFrom('copies as c')
    .innerJoin('stores as s', 's.id', 'c.store_id')
    .innerJoin('hosts as h', 'h.id', 's.host_id')
    .innerJoin('images as ci', 'ci.id', 'c.image_id')
    .leftJoin('uploads as u', 'u.copy_id', 'c.id')
    .where('c.state', '<>', 'removed')
    .orderBy('c.created_at')
    .select(['c.id', 'c.image_id', 'c.store_id', 's.name as store_name', 'c.key', 'c.state', 'c.status'])
    .select(['s.host_id', 'h.name as host_name', 'c.stored_size', 'c.fingerprint', 'c.state_at'])
    .select(
      sql<number>`case when c.state = 'ready' then coalesce(ci.size, 0) else coalesce(u.received_bytes, 0) end`.as(
        'done_bytes',
      ),
    );
}

function reads(
  db: Kysely<Tables>,
): Pick<ImageRecords, 'find' | 'lock' | 'list' | 'copiesToRemove' | 'takenBy' | 'hostOf'> {
  return {
    find: async (id) => {
      const row = await withCopies(db).where('i.id', '=', id).executeTakeFirst();
      return row && imageOf(row);
    },
    lock: async (id) => {
      await db.selectFrom('images').select('id').where('id', '=', id).forNoKeyUpdate().execute();
      const row = await withCopies(db).where('i.id', '=', id).executeTakeFirst();
      return row && imageOf(row);
    },
    list: async (query, owner) => {
      const place = placeOf(query);
      const rows = await withCopies(db)
        .where((of) => {
          const all: Expression<SqlBool>[] = [of('i.state', '<>', 'deleted')];
          if (owner !== undefined) all.push(of('i.owner', '=', owner));
          if (query.name !== undefined) all.push(of('i.name', '=', query.name));
          if (query.search !== undefined) all.push(of('i.name', 'ilike', containing(query.search)));
          if (query.state !== undefined) all.push(of('i.state', '=', query.state));
          if (place !== undefined) all.push(sql<SqlBool>`(i.created_at, i.id) < (${place.at}, ${place.id}::uuid)`);
          return of.and(all);
        })
        .orderBy('i.created_at', 'desc')
        .orderBy('i.id', 'desc')
        .limit(query.limit + 1)
        .execute();
      return pageOf(rows, query.limit, imageOf);
    },
    copiesToRemove: async () => {
      const rows = await copyQuery(db).where('c.state', '=', 'removing').execute();
      return rows.map(copyOf);
    },
    takenBy: async (owner) => {
      const stored = await db
        .selectFrom('copies as c')
        .innerJoin('images as i', 'i.id', 'c.image_id')
        .where('i.owner', '=', owner)
        .where('c.state', '!=', 'removed')
        .select(({ fn }) => fn.coalesce(fn.sum<string>('c.stored_size'), sql<string>`0`).as('bytes'))
        .executeTakeFirstOrThrow();
      const promised = await db
        .selectFrom('uploads')
        .where('owner', '=', owner)
        .where('state', 'in', ['open', 'paused', 'finishing'])
        .select(({ fn }) => fn.coalesce(fn.sum<string>('reserved'), sql<string>`0`).as('bytes'))
        .executeTakeFirstOrThrow();
      return Number(stored.bytes) + Number(promised.bytes);
    },
    hostOf: async (storeId) => {
      const row = await db.selectFrom('stores').select('host_id').where('id', '=', storeId).executeTakeFirst();
      return row?.host_id;
    },
  };
}

type Writes = 'insert' | 'rename' | 'setStatus' | 'setFilling' | 'setFetching' | 'setTask' | 'setContent' | 'addDigest';

function writes(db: Kysely<Tables>): Pick<ImageRecords, Writes> {
  const change = (id: string) => db.updateTable('images').where('id', '=', id);
  return {
    insert: async (image) => {
      await db
        .insertInto('images')
        .values({
          id: image.id,
          name: image.name,
          state: 'pending',
          status: '',
          origin: image.origin,
          source: JSON.stringify(image.source),
          min_copies: image.placement.minCopies,
          store_tags: JSON.stringify(image.placement.storeTags),
          host_tags: JSON.stringify(image.placement.hostTags),
          format: image.format,
          declared_size: image.declaredSize,
          digests: '[]',
          expected_digest: digestOrNull(image.expectedDigest),
          upload_id: image.uploadId,
          task_id: image.taskId,
          owner: image.owner,
        })
        .execute();
    },
    rename: async (id, name) => {
      await change(id).set({ name }).execute();
    },
    setStatus: async (id, status) => {
      await change(id).set({ status }).execute();
    },
    setFilling: async (id, filling) => {
      await change(id)
        .set({
          name: filling.name,
          format: filling.format,
          declared_size: filling.declaredSize,
          expected_digest: digestOrNull(filling.expectedDigest),
          upload_id: filling.uploadId,
          task_id: filling.taskId,
          digests: '[]',
          size: null,
          virtual_size: null,
        })
        .execute();
    },
    setFetching: async (id, { uploadId, taskId }) => {
      await change(id).set({ upload_id: uploadId, task_id: taskId }).execute();
    },
    setTask: async (id, taskId) => {
      await change(id).set({ task_id: taskId }).execute();
    },
    setContent: async (id, content) => {
      await change(id)
        .set({
          size: content.size,
          virtual_size: content.virtualSize,
          format: content.format,
          digests: JSON.stringify(content.digests.map(formatDigest)),
        })
        .execute();
    },
    addDigest: async (id, digest) => {
      const text = JSON.stringify([formatDigest(digest)]);
      await sql`update images set digests = digests || ${text}::jsonb where id = ${id} and not digests @> ${text}::jsonb`.execute(
        db,
      );
    },
  };
}

function placement(db: Kysely<Tables>): Pick<ImageRecords, 'setPlacement'> {
  return {
    setPlacement: async (id, { minCopies, storeTags, hostTags }) => {
      const values = {
        ...(minCopies === undefined ? {} : { min_copies: minCopies }),
        ...(storeTags === undefined ? {} : { store_tags: JSON.stringify(storeTags) }),
        ...(hostTags === undefined ? {} : { host_tags: JSON.stringify(hostTags) }),
      };
      if (Object.keys(values).length > 0) await db.updateTable('images').set(values).where('id', '=', id).execute();
    },
  };
}

function copies(db: Kysely<Tables>): Pick<ImageRecords, 'insertCopy' | 'setCopyStored'> {
  return {
    insertCopy: async (copy) => {
      await db
        .insertInto('copies')
        .values({
          id: copy.id,
          image_id: copy.imageId,
          store_id: copy.storeId,
          key: copy.key,
          state: 'pending',
          status: '',
        })
        .execute();
    },
    setCopyStored: async (copyId, storedSize, fingerprint) => {
      await db.updateTable('copies').set({ stored_size: storedSize, fingerprint }).where('id', '=', copyId).execute();
    },
  };
}
