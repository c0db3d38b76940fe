import { afterAll, beforeAll, expect, test } from 'vitest';
import { admin, alice, type TestControl, testControl, until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import type { Host, Image, Placement, StoreRecord } from '../../core/nouns.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

const MiB = 1024 * 1024;

function agentOf(name: string, ...stores: (string | { readonly name: string; readonly filesystem: string })[]) {
  const agent = new PlainAgent(
    stores.map((store) => ({ free: 100 * MiB, ...(typeof store === 'string' ? { name: store } : store) })),
    name,
  );
  agent.pulls = 'done';
  return agent;
}

/** 10 bytes of alice, ready. */
async function uploaded(
  { control }: TestControl,
  agent: PlainAgent,
  storeId: string | undefined,
  placement: Partial<Placement> = {},
): Promise<Image> {
  const upload = await control.uploads.begin(alice, { name: 'disk', size: 10, format: 'raw', storeId, placement });
  agent.receive(upload.id, 10);
  return (await control.uploads.finish(alice, upload.id, {})).image;
}

/** The newest that a subscriber was told of each Host and Store. */
function told({ control }: TestControl) {
  const hosts = new Map<string, Host>();
  const stores = new Map<string, StoreRecord>();
  control.changes.subscribe(alice, (change) => {
    if (change.kind === 'host') hosts.set(change.host.id, change.host);
    if (change.kind === 'store') stores.set(change.store.id, change.store);
  });
  return { hosts, stores };
}

test('copies that came and went were not told: a host and its stores are, until all of it is drained', async () => {
  await using open = await postgres.open();
  const [one, two] = [agentOf('one', 'a', 'b'), agentOf('two', 'c')];
  await using ready = await testControl(open, [one, two]);
  const { hosts, stores } = told(ready);
  const [a = '', b = ''] = one.stores.map((store) => store.storeId);
  await uploaded(ready, one, a);
  await uploaded(ready, one, b);
  await until(() => hosts.get(one.hostId)?.copyCount === 2);
  await until(() => stores.get(a)?.copyCount === 1 && stores.get(b)?.copyCount === 1);
  await ready.control.hosts.change(admin, one.hostId, { evicting: true });
  await until(async () => {
    await ready.control.sweep();
    return hosts.get(one.hostId)?.drained === true;
  });
  expect(hosts.get(one.hostId)).toMatchObject({ copyCount: 0, status: '' });
  await until(() => hosts.get(two.hostId)?.copyCount === 2 && stores.get(a)?.copyCount === 0);
});

test('a host with several stores is drained only when all of them are empty', async () => {
  await using open = await postgres.open();
  const [one, two] = [agentOf('one', 'a', 'b'), agentOf('two', 'c')];
  await using ready = await testControl(open, [one, two]);
  await uploaded(ready, one, one.stores[1]?.storeId);
  two.stores.splice(0, 1, ...two.stores.map((store) => ({ ...store, free: 0 })));
  two.say({ kind: 'stores', stores: two.full().host.stores });
  await until(async () => (await ready.control.stores.list(admin)).some((store) => store.free === 0));
  await ready.control.hosts.change(admin, one.hostId, { evicting: true });
  await ready.control.sweep();
  expect(await ready.control.hosts.get(admin, one.hostId)).toMatchObject({ drained: false, copyCount: 1 });
});

test('free space that changed was not told; what stayed the same is not told again and again', async () => {
  await using open = await postgres.open();
  const agent = agentOf('one', 'a');
  await using ready = await testControl(open, [agent]);
  const { hosts, stores } = told(ready);
  const say = () => agent.say({ kind: 'stores', stores: agent.full().host.stores });
  const [store] = agent.stores;
  if (store === undefined) throw new Error('no store');
  store.free -= 7;
  say();
  await until(() => hosts.get(agent.hostId)?.free === 100 * MiB - 7 && stores.get(store.storeId)?.free === store.free);
  const { saveStores } = open.db.stores;
  const facts = { ...store, hostId: agent.hostId, driver: 'memory' };
  expect(await saveStores([facts])).toEqual([]);
  expect(await saveStores([{ ...facts, free: 1 }])).toEqual([store.storeId]);
});

test('a drain that cannot go on said nothing: the host says how many are left and why the first stays', async () => {
  await using open = await postgres.open();
  const [one, two] = [agentOf('one', 'a'), agentOf('two', 'c')];
  await using ready = await testControl(open, [one, two]);
  const { hosts, stores } = told(ready);
  const { id } = await uploaded(ready, one, one.stores[0]?.storeId, { storeTags: [] });
  await ready.control.images.change(alice, id, { placement: { storeTags: ['ssd'] } });
  await ready.control.hosts.change(admin, one.hostId, { evicting: true });
  const stuck = async (text: string) => {
    await until(async () => {
      await ready.control.sweep();
      return hosts.get(one.hostId)?.status.includes(text) === true;
    });
    const { status } = await ready.control.hosts.get(alice, one.hostId);
    expect(status).toContain('1 copy is left to move.');
    expect(status).toContain(id.slice(0, 8));
    expect(status).not.toContain('disk');
  };
  await stuck('The tag ssd is missing there');
  await ready.control.images.change(alice, id, { placement: { storeTags: [], minCopies: 2 } });
  await stuck('1 of 2 copies are good');
  await ready.control.images.change(alice, id, { placement: { minCopies: 1 } });
  await until(async () => {
    await ready.control.sweep();
    return hosts.get(one.hostId)?.drained === true;
  });
  const c = two.stores[0]?.storeId ?? '';
  await ready.control.stores.change(admin, c, { evicting: true });
  await until(async () => {
    await ready.control.sweep();
    return stores.get(c)?.status.includes('1 copy is left to move. The image') === true;
  });
});

test('what arrives, and what has failed, keeps a host from being drained, and that is said', async () => {
  await using open = await postgres.open();
  const one = agentOf('one', 'a');
  await using ready = await testControl(open, [one]);
  const { uploads, hosts } = ready.control;
  const upload = await uploads.begin(alice, { name: 'x', size: 1, format: 'raw' });
  await hosts.change(admin, one.hostId, { evicting: true });
  expect((await hosts.get(admin, one.hostId)).status).toContain('still arrives here');
  one.receive(upload.id, 1);
  const { image } = await uploads.finish(alice, upload.id, {});
  one.copies.clear();
  ready.later(3600);
  await until(async () => {
    await ready.control.sweep();
    return (await ready.control.images.get(alice, image.id)).state === 'failed';
  });
  expect((await hosts.get(admin, one.hostId)).status).toContain(`The image ${image.id.slice(0, 8)} has failed`);
});

test('two stores on one filesystem promised the same free space twice, and counted it twice', async () => {
  await using open = await postgres.open();
  const shared = { filesystem: '66306' };
  const agent = agentOf('one', { name: 'a', ...shared }, { name: 'b', ...shared }, 'alone');
  await using ready = await testControl(open, [agent]);
  const { uploads, stores, hosts } = ready.control;
  await until(async () => (await hosts.get(admin, agent.hostId)).capacity === 200 * MiB);
  expect(await hosts.get(admin, agent.hostId)).toMatchObject({ free: 200 * MiB, storeCount: 3 });
  const [a, b, alone] = agent.stores.map((store) => store.storeId);
  const begin = (storeId: string | undefined) =>
    uploads.begin(alice, { name: 'x', size: 60 * MiB, format: 'raw', storeId });
  await begin(a);
  expect((await stores.list(admin)).map(({ name, reserved }) => [name, reserved])).toEqual([
    ['a', 60 * MiB],
    ['alone', 0],
    ['b', 60 * MiB],
  ]);
  await expect(begin(b)).rejects.toMatchObject({ code: 'store-full' });
  await begin(alone);
});
