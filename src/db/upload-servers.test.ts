import { afterAll, beforeAll, expect, test } from 'vitest';
import { alice, testControl } from '../../test/control.ts';
import { PlainAgent } from '../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../test/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

test('whose upload server is at an address: that of the upload, and of another one only when the address was changed to its', async () => {
  await using open = await postgres.open();
  const agents = ['a', 'b'].map((name) => new PlainAgent([{ name, free: 2 ** 30 }]));
  await using ready = await testControl(open, agents);
  const { uploadServers } = open.db;
  const begin = async (agent: PlainAgent | undefined) => {
    const storeId = agent?.stores[0]?.storeId;
    return (await ready.control.uploads.begin(alice, { name: 'd', size: 10, format: 'raw', storeId })).id;
  };
  const [one, two] = [await begin(agents[0]), await begin(agents[1])];
  const [hostOfOne, hostOfTwo] = agents.map(({ hostId }) => ({ id: hostId, keyHash: null }));
  expect(await uploadServers.placeOf(one)).toBeUndefined();
  await uploadServers.save(one, '10.0.0.1:7900');
  await uploadServers.save(two, '10.0.0.2:7900');
  expect(await uploadServers.placeOf(one)).toEqual({ address: '10.0.0.1:7900', host: hostOfOne });
  expect(await uploadServers.placeOf(two)).toEqual({ address: '10.0.0.2:7900', host: hostOfTwo });

  // A person moves it.
  await postgres.query(
    open.name,
    `update upload_servers set upload_address = '10.0.0.2:7900' where upload_id = '${one}'`,
  );
  expect(await uploadServers.placeOf(one)).toEqual({ address: '10.0.0.2:7900', host: hostOfTwo });

  // A host that names the address of another one gets nothing of that: its server is launched anew.
  await uploadServers.save(one, '10.0.0.1:7900');
  await uploadServers.save(two, '10.0.0.1:7900');
  expect(await uploadServers.placeOf(one)).toBeUndefined();
  await uploadServers.save(one, '10.0.0.1:7900');
  expect(await uploadServers.placeOf(one)).toEqual({ address: '10.0.0.1:7900', host: hostOfOne });
});
