import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { Change } from './use-cases.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

function newAgent(): PlainAgent {
  return new PlainAgent([{ name: 'default', free: 2 ** 40 }]);
}

test('a host is drained when nothing is left on it; nothing new comes while it is, or while it is disabled', async () => {
  await using open = await postgres.open();
  const agent = newAgent();
  await using ready = await testControl(open, [agent]);
  const { hosts, uploads } = ready.control;
  await until(async () => (await hosts.list(admin))[0]?.state === 'online');
  const heard: Change[] = [];
  ready.control.changes.subscribe(alice, (change) => void heard.push(change));
  await expect(hosts.change(alice, agent.hostId, { enabled: false })).rejects.toMatchObject({ code: 'forbidden' });
  expect(await hosts.change(admin, agent.hostId, { enabled: false })).toMatchObject({ enabled: false, drained: false });
  await expect(uploads.begin(alice, { name: 'x', size: 1, format: 'raw' })).rejects.toMatchObject({
    code: 'unavailable',
  });
  await hosts.change(admin, agent.hostId, { enabled: true });
  const upload = await uploads.begin(alice, { name: 'x', size: 1, format: 'raw' });
  expect(await hosts.change(admin, agent.hostId, { evicting: true })).toMatchObject({ evicting: true, drained: false });
  await uploads.cancel(alice, upload.id);
  await until(async () => (await hosts.get(alice, agent.hostId)).drained);
  await until(() => heard.some((change) => change.kind === 'host' && change.host.evicting));
  await expect(uploads.begin(alice, { name: 'y', size: 1, format: 'raw' })).rejects.toMatchObject({
    code: 'unavailable',
  });
  expect(await hosts.change(admin, agent.hostId, { evicting: false })).toMatchObject({
    evicting: false,
    drained: false,
  });
});

test('a host with copies is taken out by force only, and what had no other copy says that it is lost', async () => {
  await using open = await postgres.open();
  const agent = newAgent();
  await using ready = await testControl(open, [agent]);
  const { hosts, uploads, images, stores } = ready.control;
  const upload = await uploads.begin(alice, { name: 'x', size: 1, format: 'raw' });
  agent.receive(upload.id, 1);
  const { image } = await uploads.finish(alice, upload.id, {});
  const half = await uploads.begin(alice, { name: 'half', size: 2, format: 'raw' });
  const remove = (force: boolean) => hosts.remove(admin, agent.hostId, { force });
  await expect(remove(true)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('online') });
  await postgres.query(open.name, 'update hosts set online = false, seen_at = null');
  await expect(remove(false)).rejects.toMatchObject({ code: 'conflict', details: { copies: 2, uploads: 1 } });
  await remove(true);
  expect(await hosts.list(admin)).toEqual([]);
  expect(await stores.list(admin)).toEqual([]);
  expect(await images.get(alice, image.id)).toMatchObject({
    state: 'failed',
    copies: [],
    status: expect.stringContaining('lost'),
  });
  expect(await uploads.get(alice, half.id)).toMatchObject({ state: 'failed' });
});
