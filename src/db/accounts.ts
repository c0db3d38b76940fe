import { type Kysely, sql } from 'kysely';
import type { Actor } from '../core/nouns.ts';
import type { AccountRecords, AuditRecords } from '../service/control/ports.ts';
import type { Tables } from './tables.ts';

export function createAccountRecords(db: Kysely<Tables>): AccountRecords {
  return { ...users(db), ...logins(db), ...tokens(db) };
}

export function createAuditRecords(db: Kysely<Tables>): AuditRecords {
  return {
    append: async ({ actor, action, subject, detail }) => {
      await db
        .insertInto('audit_log')
        .values({ actor, action, subject, detail: detail === undefined ? null : JSON.stringify(detail) })
        .execute();
    },
  };
}

type Users = 'saveUser' | 'user' | 'setPasswordHash' | 'setting' | 'settingsBelow' | 'saveSetting' | 'keepSetting';

function users(db: Kysely<Tables>): Pick<AccountRecords, Users> {
  return {
    saveUser: async (name, role) => {
      await db
        .insertInto('users')
        .values({ name, role })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
    },
    user: async (name) => {
      const row = await db.selectFrom('users').selectAll().where('name', '=', name).executeTakeFirst();
      return row && { actor: actorOf(row), passwordHash: row.password_hash };
    },
    setPasswordHash: async (name, hash) => {
      await db.updateTable('users').set({ password_hash: hash }).where('name', '=', name).execute();
    },
    setting: async (key) => {
      const row = await db.selectFrom('settings').select('value').where('key', '=', key).executeTakeFirst();
      return row?.value;
    },
    settingsBelow: async (prefix) => {
      const rows = await db
        .selectFrom('settings')
        .select('value')
        .where(sql<boolean>`starts_with(key, ${`${prefix}:`})`)
        .execute();
      return rows.map((row) => row.value);
    },
    saveSetting: async (key, value) => {
      await db
        .insertInto('settings')
        .values({ key, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute();
    },
    keepSetting: async (key, value) => {
      await db
        .insertInto('settings')
        .values({ key, value })
        .onConflict((conflict) => conflict.column('key').doNothing())
        .execute();
      const row = await db.selectFrom('settings').select('value').where('key', '=', key).executeTakeFirstOrThrow();
      return row.value;
    },
  };
}

function inSeconds(seconds: number) {
  return sql<Date>`now() + make_interval(secs => ${seconds})`;
}

function logins(db: Kysely<Tables>): Pick<AccountRecords, 'insertLogin' | 'actorOfLogin' | 'removeLogin'> {
  return {
    insertLogin: async (login) => {
      await db.deleteFrom('logins').where('expires_at', '<', sql<Date>`now()`).execute();
      const row = await db
        .insertInto('logins')
        .values({ id: login.id, user_name: login.user, hash: login.hash, expires_at: inSeconds(login.lifetimeSeconds) })
        .returning('expires_at')
        .executeTakeFirstOrThrow();
      return row.expires_at;
    },
    actorOfLogin: async (hash, lifetimeSeconds) => {
      const row = await db
        .selectFrom('logins as l')
        .innerJoin('users as u', 'u.name', 'l.user_name')
        .select(['u.name', 'u.role'])
        .select(sql<boolean>`l.expires_at < ${inSeconds(lifetimeSeconds - 3600)}`.as('stale'))
        .where('l.hash', '=', hash)
        .where('l.expires_at', '>', sql<Date>`now()`)
        .executeTakeFirst();
      if (row?.stale === true) {
        await db
          .updateTable('logins')
          .set({ expires_at: inSeconds(lifetimeSeconds) })
          .where('hash', '=', hash)
          .execute();
      }
      return row && actorOf(row);
    },
    removeLogin: async (hash) => {
      await db.deleteFrom('logins').where('hash', '=', hash).execute();
    },
  };
}

const tokenColumns = ['id', 'name', 'created_at as createdAt', 'used_at as usedAt', 'expires_at as expiresAt'] as const;

function tokens(db: Kysely<Tables>): Pick<AccountRecords, 'insertToken' | 'actorOfToken' | 'tokens' | 'removeToken'> {
  return {
    insertToken: (token) =>
      db
        .insertInto('api_tokens')
        .values({
          id: token.id,
          user_name: token.user,
          name: token.name,
          hash: token.hash,
          expires_at: token.expiresInSeconds === null ? null : inSeconds(token.expiresInSeconds),
        })
        .returning(tokenColumns)
        .executeTakeFirstOrThrow(),
    actorOfToken: async (hash) => {
      const row = await db
        .selectFrom('api_tokens as t')
        .innerJoin('users as u', 'u.name', 't.user_name')
        .select(['u.name', 'u.role'])
        .select(sql<boolean>`t.used_at is null or t.used_at < now() - interval '1 minute'`.as('stale'))
        .where('t.hash', '=', hash)
        .where((of) => of.or([of('t.expires_at', 'is', null), of('t.expires_at', '>', sql<Date>`now()`)]))
        .executeTakeFirst();
      if (row?.stale === true) {
        await db.updateTable('api_tokens').set({ used_at: sql<Date>`now()` }).where('hash', '=', hash).execute();
      }
      return row && actorOf(row);
    },
    tokens: (user) =>
      db
        .selectFrom('api_tokens')
        .select(tokenColumns)
        .where('user_name', '=', user)
        .orderBy('created_at', 'desc')
        .execute(),
    removeToken: async (user, id) => {
      const done = await db
        .deleteFrom('api_tokens')
        .where('user_name', '=', user)
        .where('id', '=', id)
        .executeTakeFirst();
      return done.numDeletedRows === 1n;
    },
  };
}

function actorOf(row: { readonly name: string; readonly role: string }): Actor {
  return { user: row.name, role: row.role === 'admin' ? 'admin' : 'user' };
}
