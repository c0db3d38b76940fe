import { randomBytes } from 'node:crypto';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Problem } from '../../src/contract/api/common.ts';
import type { StoreResource } from '../../src/contract/api/store.ts';
import type { DataAccess, FinishAnswer, ReceivedRanges, UploadResource } from '../../src/contract/api/upload.ts';
import { type Cluster, startCluster } from './cluster.ts';

const otherVersion = fileURLToPath(new URL('other-version-agent.ts', import.meta.url));
const HALF = 2 * 2 ** 20;
const bytes = randomBytes(2 * HALF);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ agents: 1 });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

function begin(name: string): Promise<UploadResource> {
  const body = JSON.stringify({ name, size: bytes.length, format: 'raw' });
  return cluster.control.json('/uploads', { method: 'POST', body });
}

function put(to: { url: string; token: string }, half: 0 | 1): Promise<Response> {
  const [first, last] = [half * HALF, (half + 1) * HALF - 1];
  return fetch(`${to.url}/data`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${to.token}`, 'content-range': `bytes ${first}-${last}/${bytes.length}` },
    body: bytes.subarray(first, last + 1),
  });
}

test('an agent that is too old is outdated and gets nothing new; replaced by a newer program its upload goes on', async () => {
  const { control } = cluster;
  const agent = cluster.agent(0);
  const upload = await begin('survives an upgrade');
  const through = { url: `${control.api}/api/v1/uploads/${upload.id}`, token: control.token };
  expect((await put(through, 0)).status).toBe(200);
  await agent.stop();

  const old = await cluster.addAgent({
    name: agent.name,
    dataDir: agent.dataDir,
    script: { script: otherVersion, args: ['0', '0', '0.0.1'] },
  });
  const outdated = await control.hostIs(agent.name, ({ state }) => state === 'outdated');
  expect(outdated.status).toContain('(Hawser 0.0.1) is too old');
  const { items } = await control.json<{ items: StoreResource[] }>('/stores');
  expect(items[0]?.unschedulable).toContain('too old');
  const refused = await control.ask('/uploads', { method: 'POST', body: JSON.stringify({ name: 'x', size: 1 }) });
  expect(refused.status).toBe(503);
  expect((await put(through, 1)).status).toBe(503); // no command goes to what it may not understand
  expect(await old.stop()).toBe(0);

  await agent.restart();
  await control.hostIs(agent.name, ({ state, status }) => state === 'online' && status === '');
  const ranges = await control.json<ReceivedRanges>(`/uploads/${upload.id}/ranges`);
  expect(ranges.receivedBytes).toBe(HALF);
  expect((await put(through, 1)).status).toBe(200);
  const { image } = await control.json<FinishAnswer>(`/uploads/${upload.id}/finish`, { method: 'POST', body: '{}' });
  expect(image.state).toBe('ready');
});

test('a copy of its data folder that is started takes the host over: the older process takes no byte more and keeps what it has', async () => {
  const { control, folder } = cluster;
  const agent = cluster.agent(0);
  const upload = await begin('fenced');
  const access = await control.json<DataAccess>(`/uploads/${upload.id}/access`);
  expect((await put(access, 0)).status).toBe(200);
  const before = await control.hostIs(agent.name, ({ state }) => state === 'online');

  const copy = join(folder, 'copy');
  await cp(agent.dataDir, copy, { recursive: true, filter: (path) => !path.endsWith('.sock') });
  const newer = await cluster.addAgent({ name: agent.name, dataDir: copy });
  await agent.said('agent.fenced');
  const refused = await put(access, 1);
  expect([refused.status, ((await refused.json()) as Problem).code]).toEqual([409, 'fenced']);
  await control.hostIs(agent.name, ({ state, agentUrl }) => state === 'online' && agentUrl !== before.agentUrl);

  let given = await control.ask(`/uploads/${upload.id}/access`);
  while (given.status === 503) given = await control.ask(`/uploads/${upload.id}/access`);
  const again = (await given.json()) as DataAccess;
  expect(new URL(again.url).host).toBe(new URL(newer.addresses.data ?? '').host);
  const ranges = await control.json<ReceivedRanges>(`/uploads/${upload.id}/ranges`);
  expect(ranges.receivedBytes).toBe(HALF); // the copy has them too
  expect((await put(again, 1)).status).toBe(200);

  // Started again, the old one has what it had, and the host.
  await newer.stop();
  await agent.restart();
  await control.hostIs(agent.name, ({ state, agentUrl }) => state === 'online' && agentUrl === agent.addresses.agent);
  let answer = await control.ask(`/uploads/${upload.id}/ranges`);
  while (answer.status === 503) answer = await control.ask(`/uploads/${upload.id}/ranges`);
  expect(((await answer.json()) as ReceivedRanges).receivedBytes).toBe(HALF);
});
