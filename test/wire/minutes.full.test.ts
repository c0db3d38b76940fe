import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Caller, nextUploadWorks, until } from './caller.ts';
import { RawClient } from './raw-client.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing({ yaml: 'uploads:\n  expireAfterSeconds: 5\n' });
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

test('an upload that nobody fills expires: 410, its space comes back, and its image can be filled again', async () => {
  const bytes = randomBytes(9000);
  const upload = await api.begin({ name: 'forgotten', size: bytes.length });
  await api.put(upload.id, 0, bytes.subarray(0, 100));
  await until(async () => (await api.upload(upload.id)).state === 'expired');
  expect(await api.refusedPut(upload.id, 100, bytes.subarray(100))).toMatchObject({ code: 'expired', status: 410 });
  expect((await api.refused('POST', `/uploads/${upload.id}/finish`)).code).toBe('expired');
  expect(await api.task(upload.taskId)).toMatchObject({ state: 'FAILURE', cause: 'expired' });
  expect((await api.image(upload.imageId)).state).toBe('failed');
  await until(async () => {
    const { items } = await api.ok<{ items: { reserved: number }[] }>('GET', '/stores');
    return items[0]?.reserved === 0;
  });
  const again = await api.begin({ name: 'forgotten', size: bytes.length, imageId: upload.imageId });
  await api.put(again.id, 0, bytes);
  const { image } = await api.finish(again.id);
  expect(image.id).toBe(upload.imageId);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
});

test('headers that drip in byte by byte are answered 408 and closed', async () => {
  await using client = await RawClient.open(serving.api);
  client.send('PUT /api/v1/uploads/x/data HTTP/1.1\r\nHost: x\r\nx-drip: ');
  const drip = setInterval(() => client.send('a'), 1000);
  try {
    expect(await client.until(/^HTTP\/1\.1 408 /)).toContain('bad-request');
    await client.closed;
  } finally {
    clearInterval(drip);
  }
});
