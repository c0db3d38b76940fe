import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestPostgres, testPostgres } from '../../test/postgres.ts';
import { isHawserError } from '../core/errors.ts';
import { openDatabase } from './open.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

test('several controls that start on one empty database migrate it once', async () => {
  await postgres.query('postgres', 'create database many');
  const address = { ...postgres.postgres.connection, database: 'many' };
  const all = await Promise.all([1, 2, 3].map(() => openDatabase(address, { connections: 2 })));
  const done = (await postgres.query('many', 'select name from kysely_migration')).map(({ name }) => name);
  expect(done.slice(0, 2)).toEqual(['0001-first', '0002-hosts-and-copies']);
  expect(new Set(done).size).toBe(done.length);
  for (const open of all) {
    expect(await open.ping()).toBe(true);
    await open[Symbol.asyncDispose]();
  }
});

test('the waker sweeps on one control when it is asked for', async () => {
  await postgres.query('postgres', 'create database woken');
  await using open = await openDatabase({ ...postgres.postgres.connection, database: 'woken' }, { pollSeconds: 1 });
  const swept = Promise.withResolvers<void>();
  await open.waker.start(async () => swept.resolve());
  await open.waker.soon(0);
  await swept.promise;
  await open.waker.stop();
});

test('a text with a NUL is the fault of who sent it', async () => {
  await postgres.query('postgres', 'create database nul');
  await using open = await openDatabase({ ...postgres.postgres.connection, database: 'nul' });
  const asked = open.db.accounts.user('a\0b');
  await expect(asked).rejects.toSatisfy((error) => isHawserError(error, 'bad-request'));
});

test('connections recover when PostgreSQL was killed under them, and nothing escapes', async () => {
  const errors: Error[] = [];
  await postgres.query('postgres', 'create database killed');
  await using open = await openDatabase(
    { ...postgres.postgres.connection, database: 'killed' },
    { onError: (error) => errors.push(error) },
  );
  await open.waker.start(async () => {});
  await open.db.accounts.saveSetting('k', 'v');
  const { pid } = postgres.postgres;
  process.kill(pid, 'SIGKILL');
  while (postgres.postgres.pid === pid || !(await open.ping())) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(await open.db.accounts.setting('k')).toBe('v');
  expect(errors.length).toBeGreaterThan(0);
  await open.waker.stop();
});
