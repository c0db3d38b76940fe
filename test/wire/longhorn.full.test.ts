import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { startCluster } from '../agents/cluster.ts';
import { testWith } from '../needs.ts';
import { testPostgres } from '../postgres.ts';
import { Caller, MiB } from './caller.ts';
import { type BackingImage, evenCuts, LonghornClient, shuffled, unevenCuts } from './longhorn-client.ts';
import { startNginx } from './nginx.ts';
import { Peak } from './proc.ts';
import { type Serving, startServing } from './serving.ts';

const GiB = 1024 * MiB;
const CHUNK = 16 * MiB;
const env = { HAWSER_LONGHORN_UPLOAD_PORTS: '0', HAWSER_AGENT_LISTEN: '127.0.0.1:0' };

interface Trip {
  readonly finishMs: number;
  readonly serve: number;
}

test('8 GiB with 512 MiB of data: zeros take no space, memory stays, and coalescing takes no longer', async () => {
  await using serving = await startServing({ env });
  await trip(serving, 'first', 512 * MiB); // what is only compiled, filled and opened once is no growth
  const small = await trip(serving, 'small', 512 * MiB);
  const large = await trip(serving, 'large', 8 * GiB);
  console.log(
    `small: finished in ${small.finishMs} ms, serve ${Math.round(small.serve / MiB)} MiB; large: ${large.finishMs} ms, ${Math.round(large.serve / MiB)} MiB`,
  );
  expect(large.finishMs).toBeLessThan(small.finishMs * 3 + 2000);
  for (const { serve } of [small, large]) expect(serve).toBeLessThan(200 * MiB);
  expect(large.serve - small.serve).toBeLessThan(20 * MiB);
});

/** Chunks of 16 MiB, 512 MiB of them bytes and the rest zeros. */
async function trip(serving: Serving, name: string, size: number): Promise<Trip> {
  const client = new LonghornClient(serving.api, serving.token);
  const api = new Caller(serving.api, serving.token);
  const made = await client.create(name);
  await client.must(client.action(name, 'uploadServerStart', { size }));
  const cuts = evenCuts(size, CHUNK);
  const every = cuts.length / ((512 * MiB) / CHUNK);
  const [bytes, zeros] = [randomBytes(CHUNK), Buffer.alloc(CHUNK)];
  const peak = new Peak();
  const waiting = [...cuts];
  const lane = async () => {
    for (let cut = waiting.shift(); cut !== undefined; cut = waiting.shift()) {
      await client.send(name, cut, (cut.index % every === 0 ? bytes : zeros).subarray(0, cut.length));
      await peak.sample(serving.pid);
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  const begun = performance.now();
  await client.must(client.action(name, 'chunkCoalesce', { size, count: cuts.length }));
  const finishMs = Math.round(performance.now() - begun);
  const image = await api.ok<{ size: number; storedSize: number }>('GET', `/images/${made.uuid}`);
  expect(image.size).toBe(size);
  expect(image.storedSize).toBeLessThan(1.05 * 512 * MiB);
  const part = await api.call('GET', `/images/${made.uuid}/data`, { headers: { range: `bytes=0-${CHUNK - 1}` } });
  expect(part.bytes.equals(bytes)).toBe(true);
  await client.ok('DELETE', `/backingimages/${name}`);
  return { finishMs, serve: peak.bytes };
}

testWith('nginx')('through nginx with the usual limits of an ingress', async () => {
  await using serving = await startServing({ env });
  for (const buffering of ['on', 'off']) {
    await using nginx = await startNginx(
      ({ port, proof }) => `
  server {
    listen 127.0.0.1:${port};
    client_max_body_size 20m;
    proxy_request_buffering ${buffering};
    ${proof}
    location / {
      proxy_pass ${serving.api};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Connection "";
    }
  }`,
    );
    const base = `http://127.0.0.1:${nginx.port}`;
    const client = new LonghornClient(base, serving.token);
    const name = `through-${buffering}`;
    const bytes = randomBytes(40 * MiB + 99);
    const made = await client.create(name);
    expect(made.actions.chunkUpload).toBe(`${base}/v1/backingimages/${name}?action=chunkUpload`);
    await client.uploadAll(name, bytes, evenCuts(bytes.length, 8 * MiB));
    const down = await fetch(`${base}/v1/backingimages/${name}/download?raw=true`, {
      headers: { authorization: `Bearer ${serving.token}` },
    });
    expect(Buffer.from(await down.arrayBuffer()).equals(bytes)).toBe(true);
    await client.create(`${name}-large`);
    await client.must(client.action(`${name}-large`, 'uploadServerStart', { size: 30 * MiB }));
    const refused = await client
      .upload(`${name}-large`, 0, 'a'.repeat(64), randomBytes(30 * MiB))
      .catch(() => undefined);
    expect(refused?.status ?? 413).toBe(413);
  }
});

test('control and two agents: the server is launched where the bytes lie, and outlives kill -9 of its agent and of control', async () => {
  await using cluster = await startCluster({ agents: 2, agentEnv: { HAWSER_LONGHORN_UPLOAD_PORTS: '0' } });
  const { control } = cluster;
  const client = new LonghornClient(control.api, control.token);
  const chance = Math.random;
  const bytes = randomBytes(24 * MiB + 5);
  const cuts = unevenCuts(bytes.length, [2 * MiB, 4 * MiB], chance);
  const { items } = await control.json<{ items: { id: string; hostName: string }[] }>('/stores');
  const second = items.find(({ hostName }) => hostName === 'host1');
  await control.ask(`/stores/${second?.id}`, { method: 'PATCH', body: JSON.stringify({ tags: ['fast'] }) });
  const made = await client.create('there', { diskSelector: ['fast'] });
  expect(Object.keys(made.diskFileStatusMap)).toEqual([second?.id]);
  await client.must(client.action('there', 'uploadServerStart', { size: bytes.length }));
  const send = (cut: (typeof cuts)[number]) =>
    client.send('there', cut, bytes.subarray(cut.offset, cut.offset + cut.length));
  const mixed = shuffled(cuts, chance);
  const half = Math.floor(mixed.length / 2);
  for (const cut of mixed.slice(0, half)) await send(cut);
  const agent = cluster.agent(1);
  await agent.kill9();
  expect((await client.action('there', 'chunkPrepare', { index: 0, size: 1, checksum: 'a'.repeat(64) })).status).toBe(
    503,
  );
  await agent.restart();
  for (const cut of mixed.slice(0, half)) expect(await patiently(() => send(cut))).toBe(true);
  await control.kill9();
  await control.restart();
  const again = new LonghornClient(control.api, control.token);
  await patiently(() => again.must(again.action('there', 'uploadServerStart', { size: bytes.length })));
  await again.uploadAll('there', bytes, cuts, 2);
  const image = (await again.ok('GET', '/backingimages/there')).json as BackingImage;
  expect(Object.values(image.diskFileStateMap)).toEqual(['ready']);
  const api = new Caller(control.api, control.token);
  expect((await api.call('GET', `/images/${made.uuid}/data`)).bytes.equals(bytes)).toBe(true);
  const zipped = await fetch(`${control.api}/v1/backingimages/there/download?raw=1`, {
    headers: { authorization: `Bearer ${control.token}`, range: 'bytes=1000000-1000009' },
  });
  expect(Buffer.from(await zipped.arrayBuffer()).equals(bytes.subarray(1_000_000, 1_000_010))).toBe(true);
});

test('two controls on one database created the same name at once', async () => {
  await using postgres = await testPostgres();
  await using cluster = await startCluster({ controls: 2, agents: 1, databaseUrl: postgres.postgres.url });
  const clients = cluster.controls.map(({ api, token }) => new LonghornClient(api, token));
  for (let round = 0; round < 10; round++) {
    const json = { name: `twice-${round}`, sourceType: 'upload', parameters: {} };
    const answers = await Promise.all(
      [...clients, ...clients].map((client) => client.call('POST', '/backingimages', { json })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
    const refused = answers.find(({ status }) => status === 409)?.json;
    expect(refused).toMatchObject({ type: 'error', status: 409, detail: 'already-exists' });
    for (const client of clients) expect((await client.show(json.name)).id).toBe(json.name);
  }
});

/** Again while nobody answers: who was killed is only just back. */
async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Error && /\b503\b/.test(error.message))) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
