import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { Joining } from './joining.ts';
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

test('two hosts on one machine had the same name: the later one has the beginning of its id behind it', async () => {
  await using open = await postgres.open();
  const agents = [new PlainAgent([{ name: 'a', free: 1 }], 'box'), new PlainAgent([{ name: 'b', free: 1 }], 'box')];
  await using ready = await testControl(open, agents);
  const { hosts, stores } = ready.control;
  await until(async () => (await hosts.list(admin)).length === 2);
  const names = async () => (await hosts.list(admin)).map((host) => host.name);
  const [first = '', second = ''] = await names();
  const later = agents.find((agent) => second === `box-${agent.hostId.slice(0, 4)}`);
  expect([first, later === undefined]).toEqual(['box', false]);
  // It stays so, whoever reports next.
  for (const agent of agents) agent.say(agent.full());
  for (const agent of agents)
    agent.say({ kind: 'stores', stores: agent.full().host.stores.map((store) => ({ ...store, free: 2 })) });
  await until(async () => (await stores.list(admin)).every((store) => store.free === 2));
  expect(await names()).toEqual([first, second]);
  expect(new Set((await stores.list(admin)).map((store) => store.hostName))).toEqual(new Set([first, second]));
});

test('a join token that leads to loopback was of no use elsewhere, and nobody said so', async () => {
  await using open = await postgres.open();
  const made = async (...urls: string[]) => {
    const joining: Joining = {
      issue: async () => '',
      keyHash: async () => '',
      urls: () => urls,
      secretOf: (token) => token,
    };
    await using ready = await testControl(open, [], {}, { joining });
    return (await ready.control.hosts.createJoinToken(admin, { name: 't', expiresInSeconds: 60 })).warning;
  };
  expect(await made('https://127.0.0.1:7801')).toMatch(
    /^Only a host on this same machine .*127\.0\.0\.1:7801.*HAWSER_AGENT_LISTEN/,
  );
  expect(await made('https://[::1]:7801', 'https://localhost:7801')).not.toBeNull();
  expect(await made('https://127.0.0.1:7801', 'https://10.0.0.7:7801')).toBeNull();
});
