import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestPostgres, testPostgres } from '../../test/postgres.ts';
import { openDatabase } from './open.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

test('two controls created the same name at once', async () => {
  await using one = await postgres.open();
  await using two = await openDatabase({ ...postgres.postgres.connection, database: one.name });
  const inside = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const first = one.nameLocks.alone('a', async () => {
    inside.resolve();
    await end.promise;
    return 1;
  });
  await inside.promise;
  await expect(two.nameLocks.alone('a', async () => 2)).rejects.toMatchObject({ code: 'already-exists' });
  expect(await two.nameLocks.alone('b', async () => 2)).toBe(2);
  const waiting = one.nameLocks.alone('a', async () => 3);
  end.resolve();
  expect(await first).toBe(1);
  expect(await waiting).toBe(3);
  await expect(two.nameLocks.alone('a', () => Promise.reject(new Error('own')))).rejects.toThrow('own');
  expect(await one.nameLocks.alone('a', async () => 4)).toBe(4);
  const locks = await postgres.query(one.name, "select 1 from pg_locks where locktype = 'advisory' and objsubid = 1");
  expect(locks).toEqual([]);
});

test('many names at once leave connections for what is done under them', async () => {
  await using made = await postgres.open();
  await using open = await openDatabase({ ...postgres.postgres.connection, database: made.name }, { connections: 2 });
  const names = Array.from({ length: 20 }, (_, index) => `n${index}`);
  const done = await Promise.all(names.map((name) => open.nameLocks.alone(name, () => open.ping())));
  expect(done).toEqual(names.map(() => true));
});
