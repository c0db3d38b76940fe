import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, bob, testControl } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const MiB = 1024 * 1024;

test('an upload begins, receives, finishes and its image is ready', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 100 * MiB }]);
  await using ready = await testControl(open, [agent]);
  const { uploads, images, tasks, stores } = ready.control;

  const upload = await uploads.begin(alice, { name: 'disk', size: 10 * MiB, format: 'auto' });
  expect(upload).toMatchObject({ state: 'open', reserved: 10 * MiB, receivedBytes: 0, owner: 'alice', name: 'disk' });
  expect(await uploads.target(alice, upload.id, 'write')).toEqual({
    uploadId: upload.id,
    hostId: agent.hostId,
    generation: 1,
  });
  expect((await stores.list(alice))[0]?.reserved).toBe(10 * MiB);
  expect((await tasks.get(alice, upload.taskId)).state).toBe('INITIATED');
  await expect(uploads.finish(alice, upload.id, {})).rejects.toMatchObject({ code: 'incomplete' });
  expect((await uploads.get(alice, upload.id)).state).toBe('open');

  agent.receive(upload.id, 10 * MiB);
  const done = await uploads.finish(alice, upload.id, {});
  expect(done.upload.state).toBe('sealed');
  expect(done.image).toMatchObject({ state: 'ready', size: 10 * MiB, format: 'raw' });
  expect(done.image.copies).toMatchObject([{ state: 'ready', doneBytes: 10 * MiB }]);
  expect((await tasks.get(alice, upload.taskId)).state).toBe('SUCCESS');
  expect((await tasks.events(alice, upload.taskId)).map((event) => event.to)).toEqual([
    'INITIATED',
    'RUNNING',
    'SUCCESS',
  ]);
  expect((await stores.list(alice))[0]?.reserved).toBe(0);
  expect(agent.uploads.size).toBe(0);
  expect((await images.list(alice, { limit: 10 })).items.map((image) => image.id)).toEqual([upload.imageId]);
  expect((await images.list(bob, { limit: 10 })).items).toEqual([]);
  expect((await images.list(admin, { limit: 10 })).items).toHaveLength(1);
  await expect(images.get(bob, upload.imageId)).rejects.toMatchObject({ code: 'not-found' });
  expect(await images.source(alice, upload.imageId)).toMatchObject({ hostId: agent.hostId, key: upload.key });
});
