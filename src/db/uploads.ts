import { type Expression, type Kysely, type SqlBool, sql } from 'kysely';
import type { UploadRecords } from '../service/control/ports.ts';
import { pageOf, placeOf } from './page.ts';
import { digestOrNull, uploadOf } from './rows.ts';
import type { Tables } from './tables.ts';

export function createUploadRecords(db: Kysely<Tables>): UploadRecords {
  return { ...reads(db), ...pulls(db), ...writes(db), ...keys(db) };
}

function named(db: Kysely<Tables>) {
  return db
    .selectFrom('uploads as u')
    .innerJoin('images as i', 'i.id', 'u.image_id')
    .innerJoin('stores as s', 's.id', 'u.store_id')
    .selectAll('u')
    .select(['i.name', 's.host_id']);
}

type Reads = 'find' | 'list' | 'liveOn' | 'liveOf' | 'withDuty' | 'expired';

function reads(db: Kysely<Tables>): Pick<UploadRecords, Reads> {
  return {
    find: async (id) => {
      const row = await named(db).where('u.id', '=', id).executeTakeFirst();
      return row && uploadOf(row);
    },
    list: async (query, owner) => {
      const place = placeOf(query);
      const rows = await named(db)
        .where((of) => {
          const all: Expression<SqlBool>[] = [];
          if (owner !== undefined) all.push(of('u.owner', '=', owner));
          if (query.name !== undefined) all.push(of('i.name', '=', query.name));
          if (query.state !== undefined) all.push(of('u.state', '=', query.state));
          if (query.fingerprint !== undefined) all.push(of('u.fingerprint', '=', query.fingerprint));
          if (place !== undefined) all.push(sql<SqlBool>`(u.created_at, u.id) < (${place.at}, ${place.id}::uuid)`);
          return of.and(all);
        })
        .orderBy('u.created_at', 'desc')
        .orderBy('u.id', 'desc')
        .limit(query.limit + 1)
        .execute();
      return pageOf(rows, query.limit, uploadOf);
    },
    liveOn: async (hostId) => {
      const rows = await named(db)
        .where('s.host_id', '=', hostId)
        .where('u.state', 'in', ['open', 'paused', 'finishing'])
        .execute();
      return rows.map(uploadOf);
    },
    liveOf: async (imageId) => {
      const rows = await named(db)
        .where('u.image_id', '=', imageId)
        .where('u.state', 'in', ['open', 'paused', 'finishing'])
        .execute();
      return rows.map(uploadOf);
    },
    withDuty: async (hostId) => {
      const some = named(db).where('u.duty', 'is not', null).limit(1000);
      const rows = await (hostId === undefined ? some : some.where('s.host_id', '=', hostId)).execute();
      return rows.map(uploadOf);
    },
    expired: async () => {
      const rows = await named(db)
        .where('u.state', 'in', ['open', 'paused'])
        .where('u.expires_at', '<', sql<Date>`now()`)
        .limit(1000)
        .execute();
      return rows.map(uploadOf);
    },
  };
}

function pulls(db: Kysely<Tables>): Pick<UploadRecords, 'duePulls' | 'awayPulls' | 'copyPulls' | 'setFrom'> {
  return {
    duePulls: async (hostId, at) => {
      const rows = await named(db)
        .innerJoin('copies as c', 'c.id', 'u.copy_id')
        .where('s.host_id', '=', hostId)
        .where('u.state', '=', 'open')
        .where(sql<string>`u.source ->> 'kind'`, '<>', 'client')
        .where((of) => of.or([of('c.retry_at', 'is', null), of('c.retry_at', '<=', at)]))
        .limit(1000)
        .execute();
      return rows.map(uploadOf);
    },
    awayPulls: async (seconds, limit) => {
      const rows = await named(db)
        .innerJoin('hosts as away', 'away.id', 's.host_id')
        .where('u.purpose', '=', 'copy')
        .where('u.state', 'in', ['open', 'finishing'])
        .where('away.online', '=', false)
        .where('away.seen_at', '<', sql<Date>`now() - make_interval(secs => ${seconds})`)
        .limit(limit)
        .execute();
      return rows.map(uploadOf);
    },
    copyPulls: async () => {
      const rows = await db
        .selectFrom('uploads as u')
        .innerJoin('stores as s', 's.id', 'u.store_id')
        .where('u.purpose', '=', 'copy')
        .where('u.state', 'in', ['open', 'finishing'])
        .groupBy('s.host_id')
        .select(['s.host_id', ({ fn }) => fn.countAll<number>().as('count')])
        .execute();
      return new Map(rows.map((row) => [row.host_id, Number(row.count)]));
    },
    setFrom: async (id, copyId) => {
      await db.updateTable('uploads').set({ from_copy: copyId }).where('id', '=', id).execute();
    },
  };
}

function deadline(seconds: number) {
  return sql<Date>`now() + make_interval(secs => ${seconds})`;
}

function writes(
  db: Kysely<Tables>,
): Pick<UploadRecords, 'insert' | 'setExpected' | 'setStatus' | 'setDuty' | 'setProgress'> {
  const change = (id: string) => db.updateTable('uploads').where('id', '=', id);
  return {
    insert: async (upload) => {
      await db
        .insertInto('uploads')
        .values({
          id: upload.id,
          image_id: upload.imageId,
          copy_id: upload.copyId,
          task_id: upload.taskId,
          state: 'open',
          status: '',
          generation: upload.generation,
          purpose: upload.purpose,
          source: JSON.stringify(upload.source),
          declared_size: upload.declaredSize,
          reserved: upload.reserved,
          received_bytes: 0,
          zero_bytes: 0,
          format: upload.format,
          expected_digest: digestOrNull(upload.expectedDigest),
          fingerprint: upload.fingerprint,
          store_id: upload.storeId,
          key: upload.key,
          owner: upload.owner,
          expires_at: deadline(upload.expireAfterSeconds),
        })
        .execute();
    },
    setExpected: async (id, digest) => {
      await change(id)
        .set({ expected_digest: digestOrNull(digest) })
        .execute();
    },
    setStatus: async (id, status) => {
      await change(id).set({ status }).execute();
    },
    setDuty: async (id, duty) => {
      await change(id).set({ duty }).execute();
    },
    setProgress: async (id, progress) => {
      const numbers = {
        received_bytes: progress.receivedBytes,
        zero_bytes: progress.zeroBytes,
        declared_size: progress.declaredSize,
      };
      const active = { active_at: sql<Date>`now()`, expires_at: deadline(progress.expireAfterSeconds) };
      await change(id)
        .set(progress.active ? { ...numbers, ...active } : numbers)
        .execute();
    },
  };
}

function keys(db: Kysely<Tables>): Pick<UploadRecords, 'claimKey' | 'releaseKey' | 'dropKeys'> {
  return {
    claimKey: async (claim) => {
      const made = await db
        .insertInto('idempotency_keys')
        .values({ owner: claim.owner, key: claim.key, request_hash: claim.requestHash, upload_id: claim.uploadId })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      if (made.numInsertedOrUpdatedRows === 1n) return 'claimed';
      const row = await db
        .selectFrom('idempotency_keys')
        .selectAll()
        .where('owner', '=', claim.owner)
        .where('key', '=', claim.key)
        .executeTakeFirstOrThrow();
      return { requestHash: row.request_hash, uploadId: row.upload_id };
    },
    dropKeys: async (seconds) => {
      const limit = sql<Date>`now() - make_interval(secs => ${seconds})`;
      await db.deleteFrom('idempotency_keys').where('created_at', '<', limit).execute();
    },
    releaseKey: async (uploadId) => {
      await db.deleteFrom('idempotency_keys').where('upload_id', '=', uploadId).execute();
    },
  };
}
