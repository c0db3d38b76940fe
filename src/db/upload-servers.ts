import { type Kysely, sql } from 'kysely';
import type { UploadServerRecords } from '../service/control/ports.ts';
import type { Tables } from './tables.ts';

export function createUploadServerRecords(db: Kysely<Tables>): UploadServerRecords {
  return {
    addresses: async (uploadIds) => {
      if (uploadIds.length === 0) return new Map();
      const rows = await db
        .selectFrom('upload_servers as a')
        .innerJoin('uploads as u', 'u.id', 'a.upload_id')
        .where('u.id', 'in', [...uploadIds])
        .where('u.state', 'in', ['open', 'paused', 'finishing'])
        .select(['a.upload_id', 'a.upload_address'])
        .execute();
      return new Map(rows.map((row) => [row.upload_id, row.upload_address]));
    },
    placeOf: async (uploadId) => {
      // Launched servers have addresses of their own (see save): where two have the same, one was changed to the other's.
      const row = await db
        .selectFrom('upload_servers as a')
        .innerJoin('upload_servers as b', 'b.upload_address', 'a.upload_address')
        .innerJoin('uploads as u', 'u.id', 'b.upload_id')
        .innerJoin('stores as s', 's.id', 'u.store_id')
        .innerJoin('hosts as h', 'h.id', 's.host_id')
        .where('a.upload_id', '=', uploadId)
        .select(['a.upload_address', 'h.id', 'h.key_hash'])
        .orderBy(sql`b.upload_id = a.upload_id`)
        .limit(1)
        .executeTakeFirst();
      return row && { address: row.upload_address, host: { id: row.id, keyHash: row.key_hash } };
    },
    save: async (uploadId, address) => {
      // A server that is gone may have left its address behind: nobody's chunks may go to who has its port now.
      await db
        .deleteFrom('upload_servers')
        .where('upload_address', '=', address)
        .where('upload_id', '<>', uploadId)
        .execute();
      await db
        .insertInto('upload_servers')
        .values({ upload_id: uploadId, upload_address: address })
        .onConflict((conflict) => conflict.column('upload_id').doUpdateSet({ upload_address: address }))
        .execute();
    },
    remove: async (uploadId) => {
      await db.deleteFrom('upload_servers').where('upload_id', '=', uploadId).execute();
    },
    setSize: async (uploadId, size) => {
      const upload = await db
        .updateTable('uploads')
        .set({ declared_size: size, reserved: size })
        .where('id', '=', uploadId)
        .returning(['image_id', 'task_id'])
        .executeTakeFirstOrThrow();
      await db.updateTable('images').set({ declared_size: size }).where('id', '=', upload.image_id).execute();
      await db.updateTable('tasks').set({ total_bytes: size }).where('id', '=', upload.task_id).execute();
    },
  };
}
