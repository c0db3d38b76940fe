import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import type { StoreResource } from '../../src/contract/api/store.ts';
import type { DataAccess, FinishAnswer, UploadResource } from '../../src/contract/api/upload.ts';
import { serve } from '../../src/roles/serve.ts';
import { runCli } from '../wire/cli.ts';
import { startCluster } from './cluster.ts';
import { startProcess } from './real-process.ts';

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

test('with TLS on everywhere the terminal knows the data listener of an agent by its ticket, and control does when it relays', async () => {
  await using cluster = await startCluster({
    agents: 1,
    agentEnv: { HAWSER_TLS_MODE: 'on' },
    controlEnv: { HAWSER_TLS_MODE: 'on', HAWSER_LOG_LEVEL: 'debug' },
  });
  const { control, folder: cwd } = cluster;
  expect(control.api).toMatch(/^https:/);
  const bytes = randomBytes(5 * 2 ** 20 + 3);
  await writeFile(join(cwd, 'a.img'), bytes);
  const env = { HAWSER_CA: join(control.dataDir, 'keys', 'server.crt') };
  const server = { server: control.api, token: control.token, cwd, env };
  const bodies = () =>
    control
      .log()
      .split('\n')
      .filter((line) => /"method":"(PUT|GET)".*\/data"/.test(line)).length;
  for (const [flags, relayed] of [
    [[], false],
    [['--relay'], true],
  ] as const) {
    const before = bodies();
    expect(await runCli(['upload', '--restart', ...flags, 'a.img', 'a'], server)).toMatchObject({ code: 0 });
    expect(await runCli(['download', '--force', ...flags, 'a', 'b.img'], server)).toMatchObject({ code: 0 });
    expect(await runCli(['image', 'rm', 'a'], server)).toMatchObject({ code: 0 });
    expect((await readFile(join(cwd, 'b.img'))).equals(bytes)).toBe(true);
    expect(bodies() > before).toBe(relayed);
  }
});

test('a host can join serve: bytes of its own host land, those of the other one are relayed', async () => {
  await using cluster = await startCluster({ role: 'serve', agents: 1 });
  const { control } = cluster;
  const { items } = await control.json<{ items: StoreResource[] }>('/stores');
  expect(items).toHaveLength(2);
  const bytes = randomBytes(3 * 2 ** 20);
  for (const store of items) {
    const body = JSON.stringify({ name: store.hostName, size: bytes.length, format: 'raw', storeId: store.id });
    const upload = await control.json<UploadResource>('/uploads', { method: 'POST', body });
    const put = await control.ask(`/uploads/${upload.id}/data`, {
      method: 'PUT',
      body: bytes,
      headers: { 'content-type': 'application/octet-stream' },
    });
    expect(put.status).toBe(200);
    const access = await control.json<DataAccess>(`/uploads/${upload.id}/access`);
    const agents = store.hostName === 'host0' ? cluster.agent(0) : control;
    expect(new URL(access.url).origin).toBe(agents.addresses.data);
    const { image } = await control.json<FinishAnswer>(`/uploads/${upload.id}/finish`, { method: 'POST', body: '{}' });
    const got = await control.ask(`/images/${image.id}/data?filename=x.img`);
    expect(got.headers.get('content-disposition')).toContain('x.img');
    expect(got.headers.get('etag')).toMatch(/^"[0-9a-f]{40}"$/);
    expect(Buffer.from(await got.arrayBuffer()).equals(bytes)).toBe(true);
  }
});

test('an agent listener whose address is taken: asked for it is an error, otherwise serve goes on and says so', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-taken-'));
  const taken = createServer().listen(0, '127.0.0.1');
  open.push({ [Symbol.asyncDispose]: async () => rm(folder, { recursive: true, force: true }) });
  open.push({ [Symbol.asyncDispose]: async () => void taken.close() });
  await once(taken, 'listening');
  const env = { HAWSER_LISTEN: '127.0.0.1:0', HAWSER_DATA_LISTEN: '127.0.0.1:0' };
  const dataDir = join(folder, 'data');
  await mkdir(dataDir, { mode: 0o700 });
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  const asked = startProcess({ dataDir, command: ['serve'], env: { ...env, HAWSER_AGENT_LISTEN: address }, ports: {} });
  await expect(asked).rejects.toThrow(`cannot listen at ${address} (agentListen)`);
  // As serve itself starts when nobody asked for an address and the usual one is taken; that one others may have here.
  const inputs = { flags: { dataDir }, env: { ...env, HAWSER_AGENT_LISTEN: address }, uid: 1, home: folder };
  const { config } = await loadConfig({ ...inputs, readFile: async () => undefined });
  const said: string[] = [];
  const log = pino({}, { write: (line: string) => void said.push(line) });
  const serving = await serve(config, { log, signal: new AbortController().signal, agentListener: 'try' });
  open.push({ [Symbol.asyncDispose]: serving.stop });
  expect(said.join('')).toContain('No other host can join');
  expect(Object.keys(serving.addresses)).not.toContain('join');
});
