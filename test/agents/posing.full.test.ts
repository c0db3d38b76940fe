import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { HostResource } from '../../src/contract/api/host.ts';
import type { StoreResource } from '../../src/contract/api/store.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import type { UploadResource } from '../../src/contract/api/upload.ts';
import { Caller, MiB, until } from '../wire/caller.ts';
import { runCli } from '../wire/cli.ts';
import { evenCuts, LonghornClient } from '../wire/longhorn-client.ts';
import { type Cluster, startCluster } from './cluster.ts';

/** host1 has a good certificate of the same authority, and stands on the way to host0. */
let cluster: Cluster;
let way: Way;
let poser: Poser;
const bytes = randomBytes(40 * MiB + 77);
const SAID = 'Another host answers';

beforeAll(async () => {
  cluster = await startCluster({ agentEnv: { HAWSER_TLS_MODE: 'on', HAWSER_LONGHORN_UPLOAD_PORTS: '0' } });
  way = await startWay();
  await cluster.addAgent({
    env: { HAWSER_DATA_URL: `https://127.0.0.1:${way.port}`, HAWSER_LIMITS_TOTAL_RATE: String(8 * MiB) },
  });
  way.leads(Number(new URL(cluster.agent(0).addresses.data ?? '').port));
  const other = await cluster.addAgent();
  await cluster.online();
  const kept = JSON.parse(await readFile(join(other.dataDir, 'agent', 'membership.json'), 'utf8'));
  poser = await startPoser(await readFile(join(other.dataDir, 'keys', 'agent.key'), 'utf8'), kept.certificate);
  await writeFile(join(cluster.folder, 'a.img'), bytes);
});
afterAll(async () => {
  await way?.stop();
  await poser?.stop();
  await cluster?.[Symbol.asyncDispose]();
});
beforeEach(() => poser.forget());

const api = () => new Caller(cluster.control.api, cluster.control.token);
const cli = () => ({ server: cluster.control.api, token: cluster.control.token, cwd: cluster.folder });
const sha = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

function bent(): Disposable {
  way.leads(poser.port);
  return { [Symbol.dispose]: () => way.leads(Number(new URL(cluster.agent(0).addresses.data ?? '').port)) };
}

async function storeOf(host: string): Promise<string> {
  const { items } = await api().ok<{ items: StoreResource[] }>('GET', '/stores');
  return items.find(({ hostName }) => hostName === host)?.id ?? '';
}

/** All that came of it is refused connections. */
function mustHaveLearnedNothing(): void {
  expect(poser.asked()).toBeGreaterThan(0);
  expect(poser.bytes()).toBe(0);
}

test('an upload from the terminal stops at the other host, and goes on at the right one', async () => {
  const uploading = runCli(['upload', '--store', await storeOf('host0'), 'a.img', 'up'], cli());
  await until(async () => {
    const { items } = await api().ok<{ items: UploadResource[] }>('GET', '/uploads?name=up');
    return items.some(({ receivedBytes }) => receivedBytes > 8 * MiB);
  });
  const heal = bent();
  await until(async () => poser.asked() > 2);
  const [upload] = (await api().ok<{ items: UploadResource[] }>('GET', '/uploads?name=up')).items;
  expect(upload).toMatchObject({ state: 'open' });
  heal[Symbol.dispose]();
  expect(await uploading).toMatchObject({ code: 0 });
  mustHaveLearnedNothing();
  const { image } = await api().finish(upload?.id ?? '', {});
  const whole = await api().call('GET', `/images/${image.id}/data`);
  expect(sha(whole.bytes)).toBe(sha(bytes));
});

test('a download from the terminal, directly and through control, says who is there and waits for the right one', async () => {
  const heal = bent();
  const direct = runCli(['download', '--force', 'up', 'b.img'], cli());
  await until(async () => poser.asked() > 3);
  const [image] = (await api().ok<{ items: { id: string }[] }>('GET', '/images?name=up')).items;
  const relayed = await api().call('GET', `/images/${image?.id}/data`);
  expect([relayed.status, relayed.json]).toEqual([
    503,
    expect.objectContaining({ detail: expect.stringContaining(SAID) }),
  ]);
  heal[Symbol.dispose]();
  expect(await direct).toMatchObject({ code: 0 });
  expect(sha(await readFile(join(cluster.folder, 'b.img')))).toBe(sha(bytes));
  mustHaveLearnedNothing();
});

test('a copy is not read from the other host: its task says why, and goes on', async () => {
  const [image] = (await api().ok<{ items: { id: string }[] }>('GET', '/images?name=up')).items;
  const heal = bent();
  await api().ok('POST', `/images/${image?.id}/copies`, { body: { storeId: await storeOf('host1') } });
  await until(async () => {
    const { items } = await api().ok<{ items: TaskResource[] }>('GET', '/tasks?kind=replicate');
    return items.some(({ state, status }) => state === 'PAUSED' && status.includes(SAID));
  });
  heal[Symbol.dispose]();
  await until(async () => {
    const { copies } = await api().image(image?.id ?? '');
    return copies.filter(({ state }) => state === 'ready').length === 2;
  });
  mustHaveLearnedNothing();
});

test('Longhorn: no chunk goes to the other host at the port of an upload server, and no download comes from it', async () => {
  const { items } = await api().ok<{ items: HostResource[] }>('GET', '/hosts');
  const elsewhere = items.find(({ name }) => name === 'host1')?.id;
  await api().ok('PATCH', `/hosts/${elsewhere}`, { body: { enabled: false } });
  const client = new LonghornClient(cluster.control.api, cluster.control.token);
  const small = bytes.subarray(0, 3 * MiB);
  const cuts = evenCuts(small.length, 1 * MiB);
  const [first, second] = cuts;
  if (first === undefined || second === undefined) throw new Error('two chunks are wanted');
  await client.create('posed');
  await client.must(client.action('posed', 'uploadServerStart', { size: small.length }));
  await client.send('posed', first, small.subarray(0, 1 * MiB));
  const port = Number((await client.show('posed')).uploadAddress.split(':')[1]);
  await cluster.agent(0).kill9();
  await poser.stop();
  await poser.start(port);
  const sent = await client.upload('posed', 1, 'a'.repeat(64), small.subarray(1 * MiB, 2 * MiB));
  expect(sent).toMatchObject({ status: 503, text: expect.stringContaining(SAID) });
  mustHaveLearnedNothing();
  await poser.stop();
  await cluster.agent(0).restart();
  await cluster.online();
  expect(await client.send('posed', first, small.subarray(0, 1 * MiB))).toBe(true);
  await client.uploadAll('posed', small, cuts);

  await poser.start(0);
  poser.forget();
  const heal = bent();
  const refused = await client.call('GET', '/backingimages/posed/download');
  expect(refused).toMatchObject({ status: 503, text: expect.stringContaining(SAID) });
  mustHaveLearnedNothing();
  heal[Symbol.dispose]();
  const token = { headers: { authorization: `Bearer ${cluster.control.token}` } };
  const answer = await fetch(`${cluster.control.api}/v1/backingimages/posed/download?raw=true`, token);
  expect(sha(Buffer.from(await answer.arrayBuffer()))).toBe(sha(small));
});

interface Poser {
  readonly port: number;
  /** Connections that were made. */
  readonly asked: () => number;
  /** What came in them, decrypted. */
  readonly bytes: () => number;
  forget(): void;
  start(port: number): Promise<void>;
  stop(): Promise<void>;
}

async function startPoser(key: string, cert: string): Promise<Poser> {
  let [asked, got] = [0, 0];
  let server: Server = createServer();
  const sockets = new Set<Socket>();
  const poser = {
    get port() {
      return (server.address() as AddressInfo).port;
    },
    asked: () => asked,
    bytes: () => got,
    forget: () => {
      [asked, got] = [0, 0];
    },
    start: async (port: number) => {
      server = createTlsServer({ key, cert }, (socket) => {
        socket.on('error', () => {});
        socket.on('data', (chunk) => {
          got += chunk.length;
        });
      });
      server.on('tlsClientError', () => {});
      server.on('connection', (socket: Socket) => {
        asked++;
        sockets.add(socket);
      });
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, 'close');
    },
  };
  await poser.start(0);
  return poser;
}

interface Way {
  readonly port: number;
  /** From now on to this port; what is under way ends. */
  leads(port: number): void;
  stop(): Promise<void>;
}

/** The network between everybody and host0. */
async function startWay(): Promise<Way> {
  let to = 1;
  const sockets = new Set<Socket>();
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  const server = createServer((socket) => {
    const upstream = connect(to, '127.0.0.1');
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    leads: (port) => {
      to = port;
      cut();
    },
    stop: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
