import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { HawserError } from '../../core/errors.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

test('nothing waits for ever for a host that was taken out: tasks, images being compared, what it was owed', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 2 ** 40 }]);
  await using ready = await testControl(open, [agent]);
  const { hosts, uploads, images, tasks } = ready.control;
  const received = async (name: string) => {
    const upload = await uploads.begin(alice, { name, size: 10, format: 'raw' });
    agent.receive(upload.id, 10);
    return upload;
  };
  const good = await received('good');
  await uploads.finish(alice, good.id, {});
  const verify = await images.verify(alice, good.imageId);
  const compared = await received('compared');
  const digest = { algorithm: 'sha512', hex: 'a'.repeat(128) } as const;
  await uploads.finish(alice, compared.id, { digest });
  expect(await images.get(alice, compared.imageId)).toMatchObject({ state: 'verifying' });
  const owed = await uploads.begin(alice, { name: 'owed', size: 10, format: 'raw' });
  agent.down = new HawserError('unavailable', 'away');
  await uploads.cancel(alice, owed.id);

  await postgres.query(open.name, 'update hosts set online = false, seen_at = null');
  await hosts.remove(admin, agent.hostId, { force: true });
  const lost = { state: 'FAILURE', cause: 'store-failed', status: expect.stringContaining('taken out') };
  expect(await tasks.get(alice, verify.id)).toMatchObject(lost);
  expect(await tasks.get(alice, compared.taskId)).toMatchObject(lost);
  for (const { imageId } of [good, compared]) {
    await until(async () => (await images.get(alice, imageId)).state === 'failed');
  }
  const left = `select id from uploads where duty is not null union all select id from tasks where forget`;
  expect(await postgres.query(open.name, left)).toEqual([]);
});
