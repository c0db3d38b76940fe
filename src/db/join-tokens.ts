import { type Kysely, sql } from 'kysely';
import type { HostRecords } from '../service/control/host-ports.ts';
import type { Tables } from './tables.ts';

const columns = [
  'id',
  'name',
  'created_by as createdBy',
  'created_at as createdAt',
  'expires_at as expiresAt',
  'used_at as usedAt',
  'host_id as hostId',
] as const;

type JoinTokenRecords = Pick<
  HostRecords,
  'joinTokens' | 'insertJoinToken' | 'removeJoinToken' | 'joinToken' | 'takeJoinToken'
>;

export function createJoinTokenRecords(db: Kysely<Tables>): JoinTokenRecords {
  const joinToken: JoinTokenRecords['joinToken'] = async (hash) => {
    const row = await db
      .selectFrom('join_tokens')
      .select(['used_at', sql<boolean>`expires_at > now()`.as('lives')])
      .where('hash', '=', hash)
      .executeTakeFirst();
    if (row === undefined) return 'unknown';
    if (row.used_at !== null) return 'used-before';
    return row.lives ? 'usable' : 'expired';
  };
  return {
    joinToken,
    joinTokens: () => db.selectFrom('join_tokens').select(columns).orderBy('created_at', 'desc').execute(),
    insertJoinToken: async (token) => {
      await db.deleteFrom('join_tokens').where('expires_at', '<', sql<Date>`now() - interval '30 days'`).execute();
      return db
        .insertInto('join_tokens')
        .values({
          id: token.id,
          name: token.name,
          hash: token.hash,
          created_by: token.createdBy,
          expires_at: sql<Date>`now() + make_interval(secs => ${token.expiresInSeconds})`,
        })
        .returning(columns)
        .executeTakeFirstOrThrow();
    },
    removeJoinToken: async (id) => {
      const done = await db.deleteFrom('join_tokens').where('id', '=', id).executeTakeFirst();
      return done.numDeletedRows === 1n;
    },
    takeJoinToken: async (hash, { hostId, keyHash }) => {
      const used = await db
        .updateTable('join_tokens')
        .set({ used_at: sql<Date>`coalesce(used_at, now())`, host_id: hostId, key_hash: keyHash })
        .where('hash', '=', hash)
        .where((of) =>
          of.or([
            of.and([of('used_at', 'is', null), of('expires_at', '>', sql<Date>`now()`)]),
            of.and([of('host_id', '=', hostId), of('key_hash', '=', keyHash)]),
          ]),
        )
        .executeTakeFirst();
      if (used.numUpdatedRows === 1n) return 'used';
      const standing = await joinToken(hash);
      // Its time may have come between the two.
      return standing === 'usable' ? 'expired' : standing;
    },
  };
}
