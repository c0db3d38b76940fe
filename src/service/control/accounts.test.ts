import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, testControl } from '../../../test/control.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { ensureAdminToken } from './accounts.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const secret = () => randomBytes(32).toString('base64url');

test('the admin token signs in, a new one replaces it, and only hashes are kept', async () => {
  await using open = await postgres.open();
  await using ready = await testControl(open, []);
  const { accounts } = ready.control;
  const first = secret();
  await ensureAdminToken(open.db, first);
  expect(await accounts.actorOf({ kind: 'bearer', secret: first })).toEqual(admin);
  const login = await accounts.signIn({ kind: 'token', token: first });
  expect(login.actor).toEqual(admin);
  expect(login.expiresAt.getTime()).toBeGreaterThan(Date.now() + 29 * 86_400_000);
  expect(await accounts.actorOf({ kind: 'login', secret: login.loginSecret })).toEqual(admin);
  const kept = JSON.stringify([
    await postgres.query(open.name, 'select * from settings'),
    await postgres.query(open.name, 'select * from logins'),
  ]);
  expect(kept).not.toContain(first);
  expect(kept).not.toContain(login.loginSecret);

  await ensureAdminToken(open.db, secret());
  await expect(accounts.actorOf({ kind: 'bearer', secret: first })).rejects.toMatchObject({ code: 'unauthenticated' });
  await accounts.signOut(login.loginSecret);
  await expect(accounts.actorOf({ kind: 'login', secret: login.loginSecret })).rejects.toMatchObject({
    code: 'unauthenticated',
  });
  await expect(accounts.actorOf({ kind: 'bearer', secret: '' })).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('a password is set once freely and then with the current one; a wrong user and a wrong password look the same', async () => {
  await using open = await postgres.open();
  await using ready = await testControl(open, []);
  const { accounts } = ready.control;
  await ensureAdminToken(open.db, secret());
  const wrong = { kind: 'password', user: 'admin', password: 'not the one' } as const;
  // Nobody signs in with an empty or any password before one was set.
  await expect(accounts.signIn({ ...wrong, password: '' })).rejects.toMatchObject({ code: 'unauthenticated' });
  expect(await accounts.hasPassword(admin)).toBe(false);
  await accounts.setPassword(admin, { password: 'correct horse' });
  expect(await accounts.hasPassword(admin)).toBe(true);
  expect((await accounts.signIn({ kind: 'password', user: 'admin', password: 'correct horse' })).actor).toEqual(admin);
  const [one, two] = await Promise.all([
    accounts.signIn(wrong).catch((error: Error) => error.message),
    accounts.signIn({ ...wrong, user: 'nobody' }).catch((error: Error) => error.message),
  ]);
  expect(one).toBe(two);
  await expect(accounts.setPassword(admin, { password: 'another one' })).rejects.toMatchObject({ code: 'forbidden' });
  await accounts.setPassword(admin, { password: 'another one', current: 'correct horse' });
  expect((await accounts.signIn({ kind: 'password', user: 'admin', password: 'another one' })).actor).toEqual(admin);
});

test('API tokens are shown once, note their use, end, and belong to one user', async () => {
  await using open = await postgres.open();
  await using ready = await testControl(open, []);
  const { accounts } = ready.control;
  await ensureAdminToken(open.db, secret());
  await open.db.accounts.saveUser('alice', 'user');
  const token = await accounts.createToken(alice, { name: 'ci' });
  expect(token.secret).toMatch(/^hws_[\w-]{43}$/);
  expect(token.usedAt).toBe(null);
  expect(await accounts.actorOf({ kind: 'bearer', secret: token.secret })).toEqual(alice);
  const [listed] = await accounts.tokens(alice);
  expect(listed).not.toHaveProperty('secret');
  expect(listed?.usedAt).toBeInstanceOf(Date);
  expect(await accounts.tokens(admin)).toEqual([]);
  await expect(accounts.removeToken(admin, token.id)).rejects.toMatchObject({ code: 'not-found' });
  await accounts.removeToken(alice, token.id);
  await expect(accounts.actorOf({ kind: 'bearer', secret: token.secret })).rejects.toMatchObject({
    code: 'unauthenticated',
  });

  const short = await accounts.createToken(alice, { name: 'short', expiresInSeconds: 60 });
  await postgres.query(open.name, `update api_tokens set expires_at = now() - interval '1 second'`);
  await expect(accounts.actorOf({ kind: 'bearer', secret: short.secret })).rejects.toMatchObject({
    code: 'unauthenticated',
  });
});

test('a login slides while it is used and ends when it is not', async () => {
  await using open = await postgres.open();
  await using ready = await testControl(open, []);
  const { accounts } = ready.control;
  const token = secret();
  await ensureAdminToken(open.db, token);
  const { loginSecret } = await accounts.signIn({ kind: 'token', token });
  await postgres.query(open.name, `update logins set expires_at = now() + interval '1 day'`);
  await accounts.actorOf({ kind: 'login', secret: loginSecret });
  const [slid] = await postgres.query(open.name, `select expires_at > now() + interval '29 days' as slid from logins`);
  expect(slid).toEqual({ slid: true });
  await postgres.query(open.name, `update logins set expires_at = now() - interval '1 second'`);
  await expect(accounts.actorOf({ kind: 'login', secret: loginSecret })).rejects.toMatchObject({
    code: 'unauthenticated',
  });
});

test('many who guess passwords at once are sent away, and then it goes on', async () => {
  await using open = await postgres.open();
  await using ready = await testControl(open, []);
  const { accounts } = ready.control;
  const guess = () => accounts.signIn({ kind: 'password', user: 'nobody', password: 'a guess of mine' });
  const all = await Promise.allSettled(Array.from({ length: 30 }, guess));
  const codes = all.map((each) => (each.status === 'rejected' ? (each.reason as { code?: string }).code : 'signed in'));
  expect(new Set(codes)).toEqual(new Set(['unauthenticated', 'too-many']));
  await expect(guess()).rejects.toMatchObject({ code: 'unauthenticated' });
});
