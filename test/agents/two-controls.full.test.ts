import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ApiEvent } from '../../src/contract/api/events.ts';
import type { HostResource } from '../../src/contract/api/host.ts';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { FinishAnswer, UploadResource } from '../../src/contract/api/upload.ts';
import { type Authority, issueKeys, openAuthority } from '../../src/host/authority.ts';
import { connectRemoteAgent, type RemoteAgent } from '../../src/links/agent-link.ts';
import { type TestPostgres, testPostgres } from '../postgres.ts';
import { type Cluster, type ClusterControl, startCluster } from './cluster.ts';

const HALF = 2 * 2 ** 20;
const bytes = randomBytes(2 * HALF);

let postgres: TestPostgres;
let cluster: Cluster;
beforeAll(async () => {
  postgres = await testPostgres();
  cluster = await startCluster({ controls: 2, agents: 1, databaseUrl: postgres.postgres.url });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});

function controls(): readonly [ClusterControl, ClusterControl] {
  const [first, second] = cluster.controls;
  if (first === undefined || second === undefined) throw new Error('there are not two controls');
  return [first, second];
}

function putHalf(control: ClusterControl, id: string, half: 0 | 1): Promise<Response> {
  const [first, last] = [half * HALF, (half + 1) * HALF - 1];
  return control.ask(`/uploads/${id}/data`, {
    method: 'PUT',
    headers: { 'content-range': `bytes ${first}-${last}/${bytes.length}`, 'content-type': 'application/octet-stream' },
    body: bytes.subarray(first, last + 1),
  });
}

/** The event stream of a control, as the page hears it. Resolves once it is open. */
async function listenTo(control: ClusterControl) {
  const heard: ApiEvent[] = [];
  const stop = new AbortController();
  const { body } = await control.ask('/events', { headers: { accept: 'text/event-stream' }, signal: stop.signal });
  if (body === null) throw new Error('no stream');
  const waiting = new Set<() => void>();
  const reading = (async () => {
    let rest = '';
    const decoder = new TextDecoder();
    for await (const part of body) {
      const lines = (rest + decoder.decode(part, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data: ')) heard.push(JSON.parse(line.slice(6)) as ApiEvent);
      for (const look of waiting) look();
    }
  })().catch(() => {}); // ended by `stop`
  return {
    until: (isSo: (event: ApiEvent) => boolean) =>
      new Promise<ApiEvent>((resolve) => {
        const look = () => {
          const found = heard.find(isSo);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await reading;
    },
  };
}

test('an upload begun at one control goes on at the other, whose page hears it; each has its own admin token', async () => {
  const [first, second] = controls();
  expect(first.token).not.toBe(second.token);
  await using page = await listenTo(second);
  const body = JSON.stringify({ name: 'shared', size: bytes.length, format: 'raw' });
  const upload = await first.json<UploadResource>('/uploads', { method: 'POST', body });
  await page.until((event) => event.kind === 'upload' && event.upload.id === upload.id);
  expect((await putHalf(first, upload.id, 0)).status).toBe(200);
  expect((await putHalf(second, upload.id, 1)).status).toBe(200);
  const { image } = await second.json<FinishAnswer>(`/uploads/${upload.id}/finish`, { method: 'POST', body: '{}' });
  expect(image.state).toBe('ready');
  await page.until((event) => event.kind === 'image' && event.image.id === image.id && event.image.state === 'ready');
  const answers = await Promise.all([first, second].map((one) => one.ask(`/images/${image.id}/data`)));
  for (const answer of answers) expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
});

test('what only the database sees is heard as well: a new name, a host that is drained', async () => {
  const [first, second] = controls();
  const { items } = await first.json<{ items: ImageResource[] }>('/images');
  await using page = await listenTo(second);
  await first.json(`/images/${items[0]?.id}`, { method: 'PATCH', body: JSON.stringify({ name: 'renamed' }) });
  await page.until((event) => event.kind === 'image' && event.image.name === 'renamed');
  const host = await first.host('host0');
  await first.json<HostResource>(`/hosts/${host?.id}`, { method: 'PATCH', body: JSON.stringify({ evicting: true }) });
  await page.until((event) => event.kind === 'host' && event.host.evicting);
  await page.until((event) => event.kind === 'store' && event.store.unschedulable !== null);
  await second.json<HostResource>(`/hosts/${host?.id}`, { method: 'PATCH', body: JSON.stringify({ evicting: false }) });
});

/** The stage's own authority, past control: its key is in the database. */
async function authority(): Promise<Authority> {
  const [row] = await postgres.query('postgres', `select value from settings where key = 'agent-authority'`);
  return openAuthority(
    async () => String(row?.value),
    () => new Date(),
  );
}

async function strangeAuthority(): Promise<Authority> {
  return openAuthority(
    (make) => make(),
    () => new Date(),
  );
}

test('an agent takes commands from its own control only; control speaks only with the host it means', async () => {
  const agent = cluster.agent(0);
  const ours = await authority();
  const host = await controls()[0].host('host0');
  const hostId = host?.id ?? '';
  const dial = async (of: Authority, kind: 'agent' | 'control', to: Partial<RemoteAgent> = {}) => {
    const keys = await issueKeys(of, { kind, id: hostId }, ['localhost']);
    const url = agent.addresses.agent ?? '';
    const link = { hostId, keyHash: null, url, generation: 1, ca: ours.certificate, trouble: () => {} };
    return connectRemoteAgent({ ...link, keys: () => keys, ...to }).call('describe', {});
  };
  expect(await dial(ours, 'control')).toMatchObject({ hostId });
  await expect(dial(ours, 'agent')).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('from control only'),
  });
  const strange = await strangeAuthority();
  await expect(dial(strange, 'control')).rejects.toMatchObject({
    code: 'forbidden',
    message: expect.stringContaining('not of the authority'),
  });
  await expect(dial(ours, 'control', { ca: strange.certificate })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('another authority'),
  });
  await expect(dial(ours, 'control', { hostId: randomUUID() })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('Another host answers'),
  });
  await expect(dial(ours, 'control', { keyHash: 'a'.repeat(64) })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('not with the key that it joined with'),
  });
  await expect(dial(ours, 'control', { generation: 99 })).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('has been replaced'),
  });
});

test('when one is killed the other goes on, and agents find it for their signs of life', async () => {
  const [first, second] = controls();
  await first.kill9();
  const agent = cluster.agent(0);
  const at = agent.log().length;
  // An agent that starts now can only begin at the second: it has learned of that one from the first.
  await agent.restart();
  await agent.said('agent.ready', at);
  await second.hostIs('host0', ({ state, agentUrl }) => state === 'online' && agentUrl === agent.addresses.agent);
  const body = JSON.stringify({ name: 'after', size: bytes.length, format: 'raw' });
  let answer = await second.ask('/uploads', { method: 'POST', body });
  while (answer.status === 503) answer = await second.ask('/uploads', { method: 'POST', body });
  const upload = (await answer.json()) as UploadResource;
  const put = await putHalf(second, upload.id, 0);
  expect(put.status).toBe(200);
});
