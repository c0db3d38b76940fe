import { expect, test } from 'vitest';
import { problem } from '../../contract/api/common.ts';
import { imagePage, imageResource } from '../../contract/api/image.ts';
import { storeList } from '../../contract/api/store.ts';
import { taskEvents, taskPage } from '../../contract/api/task.ts';
import { finishAnswer, uploadPage, uploadResource } from '../../contract/api/upload.ts';
import { USER_TOKEN } from './testing/memory-use-cases.ts';
import { ids } from './testing/sample-nouns.ts';
import { startApi } from './testing/start-api.ts';

const json = { 'content-type': 'application/json' };

test('a list is a page of resources as the contract says, and says nothing of keys', async () => {
  await using api = await startApi();
  const answer = await api.ask('/images?limit=10&search=deb');
  const text = await answer.text();
  expect(answer.status).toBe(200);
  const page = imagePage.parse(JSON.parse(text));
  expect(page.next).toBe('more');
  expect(page.items[0]?.digests).toEqual(['md5:620f0b67a91f7f74151bc5be745b7110']);
  expect(text).not.toContain('secret');
  expect(api.useCases.asked[0]).toEqual({
    what: 'images.list',
    with: { actor: { user: 'admin', role: 'admin' }, query: { limit: 10, search: 'deb' } },
  });
});

test('each family answers in its own shape', async () => {
  await using api = await startApi();
  const of = async (path: string, init?: RequestInit) => await (await api.ask(path, init)).json();
  imageResource.parse(await of(`/images/${ids.image}`));
  uploadPage.parse(await of('/uploads?state=open'));
  taskPage.parse(await of('/tasks?state=running,PAUSED'));
  taskEvents.parse(await of(`/tasks/${ids.task}/events`));
  storeList.parse(await of('/stores'));
  const renamed = await of(`/images/${ids.image}`, { method: 'PATCH', headers: json, body: '{"name":" new "}' });
  expect(imageResource.parse(renamed).name).toBe('new');
  expect(api.useCases.asked.find(({ what }) => what === 'tasks.list')?.with).toMatchObject({
    states: ['RUNNING', 'PAUSED'],
    limit: 50,
  });
});

test('an Upload begins, ends, and is cancelled', async () => {
  await using api = await startApi();
  const begin = (body: unknown, key = 'k1') =>
    api.ask('/uploads', {
      method: 'POST',
      headers: { ...json, 'idempotency-key': key },
      body: JSON.stringify(body),
    });
  const first = await begin({ name: 'debian', size: 4096, digest: `md5:${'0'.repeat(32)}` });
  expect(first.status).toBe(201);
  expect(first.headers.get('location')).toBe(`/api/v1/uploads/${ids.upload}`);
  expect(uploadResource.parse(await first.json()).chunkSize).toBe(16 * 1024 * 1024);
  expect(api.useCases.asked[0]?.with).toEqual({
    name: 'debian',
    size: 4096,
    format: 'auto',
    digest: { algorithm: 'md5', hex: '0'.repeat(32) },
    idempotencyKey: 'k1',
  });
  const other = await begin({ name: 'debian', size: 4097 });
  expect(other.status).toBe(409);
  expect(problem.parse(await other.json()).code).toBe('conflict');

  const finish = await api.ask(`/uploads/${ids.upload}/finish`, { method: 'POST' });
  expect(finish.status).toBe(200);
  finishAnswer.parse(await finish.json());
  const cancel = await api.ask(`/uploads/${ids.upload}`, { method: 'DELETE', headers: json });
  expect(cancel.status).toBe(204);
  expect(await cancel.text()).toBe('');
});

test('a Task is paused with an empty JSON body, as many clients send it', async () => {
  await using api = await startApi();
  const answer = await api.ask(`/tasks/${ids.task}/pause`, { method: 'POST', headers: json });
  expect(await answer.json()).toMatchObject({ state: 'PAUSED', cause: 'user' });
});

test('a method that a route has not is told which it has', async () => {
  await using api = await startApi();
  const asked = async (method: string, path: string) => {
    const answer = await api.ask(path, { method });
    return [answer.status, answer.headers.get('allow')];
  };
  expect(await asked('PUT', `/images/${ids.image}`)).toEqual([405, 'DELETE, GET, HEAD, PATCH']);
  expect(await asked('GET', `/uploads/${ids.upload}/finish`)).toEqual([405, 'POST']);
  expect(await asked('DELETE', '/stores')).toEqual([405, 'GET, HEAD']);
  expect(await asked('GET', '/nothing')).toEqual([404, null]);
});

test('what control forbids is a problem with a next step', async () => {
  await using api = await startApi();
  const answer = await api.ask(`/stores/${ids.store}`, {
    method: 'PATCH',
    headers: { ...json, authorization: `Bearer ${USER_TOKEN}`, 'x-request-id': 'my-own-1' },
    body: '{"enabled":false}',
  });
  expect(answer.status).toBe(403);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(answer.headers.get('x-request-id')).toBe('my-own-1');
  const told = problem.parse(await answer.json());
  expect(told).toMatchObject({ code: 'forbidden', status: 403, requestId: 'my-own-1' });
  expect(told.next).toMatch(/administrator/);
});
