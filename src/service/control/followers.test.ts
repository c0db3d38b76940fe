import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../test/control.ts';
import { PlainAgent } from '../../../test/plain-agent.ts';
import { type TestPostgres, testPostgres } from '../../../test/postgres.ts';
import { configSchema } from '../../config/schema.ts';
import { createControl } from './control.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await testPostgres();
});
afterAll(() => postgres?.[Symbol.asyncDispose]());

test('a host that says it is reached nowhere keeps control from no other host', async () => {
  await using open = await postgres.open();
  const agent = new PlainAgent([{ name: 'default', free: 1 }]);
  const { host } = agent.full();
  await open.db.hosts.join({ ...host, hostId: randomUUID(), name: 'a', agentUrl: 'nowhere' }, 'key of a');
  await open.db.hosts.join({ ...host, name: 'b', agentUrl: 'https://b:1' }, 'key of b');
  const dialled: string[] = [];
  const lines: Readonly<Record<string, unknown>>[] = [];
  const note = (fields: Readonly<Record<string, unknown>>) => void lines.push(fields);
  const control = createControl({
    db: open.db,
    waker: { start: async () => {}, soon: async () => {}, stop: async () => {} },
    config: configSchema.parse({}),
    randomId: randomUUID,
    now: () => new Date(),
    log: { info: note, warn: note, error: note },
    dial: ({ url }) => {
      dialled.push(new URL(url).host);
      return agent;
    },
  });
  const ending = new AbortController();
  await control.start(ending.signal);
  await until(() => dialled.includes('b:1'));
  expect(lines).toContainEqual(expect.objectContaining({ event: 'host.undialled', url: 'nowhere' }));
  ending.abort();
  await control.stop();
});
