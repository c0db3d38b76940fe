import { expect, test } from 'vitest';
import { USER_TOKEN } from './testing/memory-use-cases.ts';
import { ids } from './testing/sample-nouns.ts';
import { startApi } from './testing/start-api.ts';

const asUser = { authorization: `Bearer ${USER_TOKEN}` };

test('hosts are listed, shown, changed and taken out, by admins only', async () => {
  await using api = await startApi();
  const list = (await (await api.ask('/hosts')).json()) as { items: object[] };
  expect(list.items).toMatchObject([{ id: ids.host, name: 'here', state: 'online', drained: false }]);
  expect(await (await api.ask(`/hosts/${ids.host}`, { headers: asUser })).json()).toMatchObject({ capacity: 1000 });
  expect((await api.ask(`/hosts/${ids.absent}`)).status).toBe(404);
  const change = (init: RequestInit) =>
    api.ask(`/hosts/${ids.host}`, {
      method: 'PATCH',
      body: JSON.stringify({ enabled: false }),
      ...init,
      headers: { 'content-type': 'application/json', ...init.headers },
    });
  expect(await (await change({})).json()).toMatchObject({ enabled: false });
  expect((await change({ headers: asUser })).status).toBe(403);
  expect((await change({ body: JSON.stringify({ tags: ['not a tag'] }) })).status).toBe(400);
  expect((await api.ask(`/hosts/${ids.host}?force=true`, { method: 'DELETE' })).status).toBe(204);
  expect((await api.ask(`/hosts/${ids.host}?force=perhaps`, { method: 'DELETE' })).status).toBe(400);
  expect(api.useCases.asked).toContainEqual({ what: 'hosts.remove', with: { id: ids.host, force: true } });
});

test('a join token’s secret is told once, when it is made', async () => {
  await using api = await startApi();
  const headers = { 'content-type': 'application/json' };
  const made = await api.ask('/join-tokens', { method: 'POST', body: JSON.stringify({ name: 'north' }), headers });
  expect([made.status, await made.json()]).toMatchObject([201, { name: 'north', secret: 'hj1.secret' }]);
  const listed = (await (await api.ask('/join-tokens')).json()) as { items: object[] };
  expect(listed.items).toHaveLength(1);
  expect(listed.items[0]).not.toHaveProperty('secret');
  const tooLong = JSON.stringify({ expiresInSeconds: 30 * 86_400 });
  expect((await api.ask('/join-tokens', { method: 'POST', body: tooLong, headers })).status).toBe(400);
  expect((await api.ask(`/join-tokens/${ids.absent}`, { method: 'DELETE' })).status).toBe(204);
});
