import { expect, test } from 'vitest';
import { me } from '../../contract/api/session.ts';
import { LoginLimit } from './login-limit.ts';
import { ADMIN_TOKEN, PASSWORD, USER_TOKEN } from './testing/memory-use-cases.ts';
import { ids } from './testing/sample-nouns.ts';
import { type RunningApi, startApi } from './testing/start-api.ts';

const json = { 'content-type': 'application/json' };

async function signIn(api: RunningApi, headers: Record<string, string> = {}): Promise<Response> {
  const body = JSON.stringify({ token: ADMIN_TOKEN });
  return await fetch(`${api.url}/api/v1/session`, { method: 'POST', headers: { ...json, ...headers }, body });
}

const cookieOf = (answer: Response) => answer.headers.get('set-cookie')?.split(';')[0] ?? '';

test.each([
  ['nothing', {}],
  ['a wrong token', { authorization: 'Bearer wrong' }],
  ['another scheme', { authorization: 'Basic YTpi' }],
  ['an old cookie', { cookie: 'hawser_login=login-99' }],
])('with %s nobody is signed in', async (_what, headers) => {
  await using api = await startApi();
  const answer = await fetch(`${api.url}/api/v1/images`, { headers });
  expect(answer.status).toBe(401);
  expect(answer.headers.get('www-authenticate')).toContain('Bearer');
  expect(await answer.json()).toMatchObject({ code: 'unauthenticated' });
  expect(api.useCases.asked).toEqual([]);
});

test('every route of the API but signing in and the OpenAPI text wants somebody', async () => {
  await using api = await startApi({
    app: { registerDataRoutes: (app) => void app.put('/uploads/:id/data', async () => 'in') },
  });
  const text = await (await fetch(`${api.url}/api/v1/openapi.json`)).json();
  const { paths } = text as { paths: Record<string, Record<string, unknown>> };
  const open: string[] = [];
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of Object.keys(operations)) {
      const answer = await fetch(api.url + path.replace('{id}', ids.image), { method: method.toUpperCase() });
      if (answer.status === 404 && path.includes('/leaves')) continue;
      if (answer.status !== 401 && answer.status !== 404) open.push(`${method} ${path} ${answer.status}`);
    }
  }
  expect(open.sort()).toEqual(['delete /api/v1/session 204', 'post /api/v1/session 400']);
  const put = await fetch(`${api.url}/api/v1/uploads/${ids.upload}/data`, { method: 'PUT' });
  expect(put.status).toBe(401);
});

test('signing in gives a cookie that scripts and other sites do not get, and it works', async () => {
  await using api = await startApi();
  const answer = await signIn(api);
  expect(me.parse(await answer.json())).toEqual({ user: 'admin', role: 'admin', hasPassword: true, version: '1.2.3' });
  const cookie = answer.headers.get('set-cookie') ?? '';
  expect(cookie).toMatch(/^hawser_login=login-1; .*Path=\/.*HttpOnly; SameSite=Strict$/);
  expect(cookie).not.toContain('Secure');
  const who = await fetch(`${api.url}/api/v1/me`, { headers: { cookie: cookieOf(answer) } });
  expect(who.status).toBe(200);
});

test('behind TLS the cookie is for TLS only', async () => {
  await using api = await startApi({ app: { publicUrl: 'https://hawser.example' } });
  const answer = await signIn(api, { origin: 'https://hawser.example' });
  expect(answer.headers.get('set-cookie')).toContain('; Secure');
});

test('signing out ends the login', async () => {
  await using api = await startApi();
  const cookie = cookieOf(await signIn(api));
  const out = await fetch(`${api.url}/api/v1/session`, { method: 'DELETE', headers: { cookie, origin: api.url } });
  expect(out.status).toBe(204);
  expect(out.headers.get('set-cookie')).toMatch(/hawser_login=;.*Expires=Thu, 01 Jan 1970/);
  expect((await fetch(`${api.url}/api/v1/me`, { headers: { cookie } })).status).toBe(401);
});

test.each([
  ['its own page, as browsers say on loopback and over TLS', 'self', 'same-origin', 200],
  ['its own page, as browsers say on plain HTTP', 'self', undefined, 200],
  ['a page elsewhere', 'https://evil.example', 'cross-site', 403],
  ['a page elsewhere, from an old browser', 'https://evil.example', undefined, 403],
  ['another port of this host', 'http://127.0.0.1:1', 'same-site', 403],
  ['a sandboxed page', 'null', undefined, 403],
  ['something that says nothing', undefined, undefined, 403],
])('a cookie changes something only from %s: %s, %s', async (_what, origin, site, status) => {
  await using api = await startApi();
  const headers = new Headers({ ...json, cookie: cookieOf(await signIn(api)) });
  if (origin !== undefined) headers.set('origin', origin === 'self' ? api.url : origin);
  if (site !== undefined) headers.set('sec-fetch-site', site);
  const body = '{"name":"new"}';
  const answer = await fetch(`${api.url}/api/v1/images/${ids.image}`, { method: 'PATCH', headers, body });
  expect(answer.status).toBe(status);
});

test('behind a proxy that rewrites Host the public URL counts as our own page', async () => {
  await using api = await startApi({ app: { publicUrl: 'https://hawser.example/' } });
  const headers = { ...json, cookie: cookieOf(await signIn(api)), origin: 'https://hawser.example' };
  const answer = await fetch(`${api.url}/api/v1/images/${ids.image}`, {
    method: 'PATCH',
    headers,
    body: '{"name":"new"}',
  });
  expect(answer.status).toBe(200);
});

test('a foreign page cannot sign a visitor in', async () => {
  await using api = await startApi();
  expect((await signIn(api, { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' })).status).toBe(403);
});

test('a token needs no Origin', async () => {
  await using api = await startApi();
  const answer = await api.ask(`/images/${ids.image}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${USER_TOKEN}`, 'sec-fetch-site': 'cross-site' },
  });
  expect(answer.status).toBe(204);
});

test('wrong sign-ins are limited, right ones are not', async () => {
  await using api = await startApi();
  for (let i = 0; i < 15; i++) expect((await signIn(api)).status).toBe(200);
  const guess = (password: string) =>
    fetch(`${api.url}/api/v1/session`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ user: 'anna', password }),
    });
  const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => (await guess(`wrong-${i}`)).status));
  expect(statuses.filter((status) => status === 401)).toHaveLength(10);
  const late = await guess(PASSWORD);
  expect(late.status).toBe(429);
  expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0);
});

test('passwords cannot be tried out with a login that was left open', async () => {
  await using api = await startApi();
  const change = (current: string) =>
    api.ask('/me/password', {
      method: 'PUT',
      headers: json,
      body: JSON.stringify({ current, password: 'a new long one' }),
    });
  for (let i = 0; i < 12; i++) expect((await change(PASSWORD)).status).toBe(204);
  const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => (await change(`wrong-${i}`)).status));
  expect(statuses.filter((status) => status === 403)).toHaveLength(10);
  const late = await change(PASSWORD);
  expect(late.status).toBe(429);
  expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await signIn(api)).status).toBe(429);
});

test('the limit of an address ends with its window', () => {
  let now = 0;
  const limit = new LoginLimit({ failures: 1, windowSeconds: 60, now: () => now });
  limit.begin('a');
  expect(() => limit.begin('a')).toThrow(/Wait 60 s/);
  limit.begin('b');
  now = 60_001;
  limit.begin('a');
});
