import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { type Client, credentials, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HostResource } from '../../src/contract/api/host.ts';
import type { BackingImageResponse } from '../../src/doors/longhorn/grpc-messages.ts';
import { backingImageManagerService } from '../../src/doors/longhorn/grpc-service.ts';
import { Caller, MiB, treeSha256, until } from '../wire/caller.ts';
import { type Cluster, startCluster } from './cluster.ts';

let cluster: Cluster;
beforeAll(async () => {
  const agentEnv = { HAWSER_LONGHORN_GRPC_LISTEN: '127.0.0.1:0', HAWSER_LONGHORN_UPLOAD_PORTS: '0' };
  cluster = await startCluster({ agents: 3, agentEnv });
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const api = () => new Caller(cluster.control.api, cluster.control.token);

async function keysOf(index: number) {
  const { dataDir } = cluster.agent(index);
  const kept = JSON.parse(await readFile(join(dataDir, 'agent', 'membership.json'), 'utf8'));
  const key = await readFile(join(dataDir, 'keys', 'agent.key'), 'utf8');
  return { key, cert: String(kept.certificate), ca: String(kept.authority) };
}

/** A call of the agent `at`, with the certificate of the agent `by`. */
async function call<T = BackingImageResponse>(
  { at, by }: { readonly at: number; readonly by: number },
  method: string,
  request: unknown = {},
): Promise<T> {
  const { key, cert, ca } = await keysOf(by);
  const Service = backingImageManagerService();
  const tls = credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert));
  const client: Client = new Service(cluster.agent(at).addresses.longhornGrpc ?? '', tls);
  try {
    return await new Promise<T>((resolve, reject) => {
      const act: unknown = Reflect.get(client, method);
      if (typeof act !== 'function') throw new Error(`no ${method}`);
      const done = (error: Error | null, answer: T) => (error ? reject(error) : resolve(answer));
      Reflect.apply(act, client, [request, { deadline: Date.now() + 60_000 }, done]);
    });
  } finally {
    client.close();
  }
}

test('agents send to each other; a host that was taken out may neither ask nor be sent to', async () => {
  const bytes = randomBytes(2 * MiB + 3);
  const { items } = await api().ok<{ items: { id: string; hostName: string }[] }>('GET', '/stores');
  const storeId = items.find(({ hostName }) => hostName === 'host0')?.id;
  const upload = await api().begin({ name: 'sent', size: bytes.length, storeId });
  await api().put(upload.id, 0, bytes);
  const { image } = await api().finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
  const spec = { name: 'sent', uuid: image.id, size: bytes.length };
  const from = cluster.agent(0).addresses.longhornGrpc;
  await call({ at: 1, by: 2 }, 'Sync', { backing_image_spec: spec, from_host: from, to_host: '127.0.0.1' });
  await until(async () => (await call({ at: 1, by: 2 }, 'Get', { name: 'sent' })).status.state === 'ready');

  const out = await keysOf(1);
  await cluster.agent(1).stop();
  await cluster.control.hostIs('host1', ({ state }) => state === 'offline');
  const hosts = await api().ok<{ items: HostResource[] }>('GET', '/hosts');
  const removed = hosts.items.find(({ name }) => name === 'host1')?.id;
  expect((await api().call('DELETE', `/hosts/${removed}?force=true`)).status).toBe(204);
  let refusal: unknown;
  await until(async () => {
    refusal = await call({ at: 0, by: 1 }, 'List').then(
      () => undefined,
      (error: unknown) => error,
    );
    return refusal !== undefined;
  });
  expect(refusal).toMatchObject({ code: status.PERMISSION_DENIED });
  expect(await call({ at: 0, by: 2 }, 'List')).toBeDefined();

  let got = 0;
  const poser = createServer({ key: out.key, cert: out.cert }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      got += chunk.length;
    });
  });
  poser.listen(0, '127.0.0.1');
  await once(poser, 'listening');
  const before = cluster.agent(0).log().length;
  const to = `127.0.0.1:${(poser.address() as AddressInfo).port}`;
  await call({ at: 0, by: 2 }, 'Send', { name: 'sent', to_address: to });
  await cluster.agent(0).said('backing-image.not-sent', before);
  expect(cluster.agent(0).log().slice(before)).toContain('taken out');
  expect(got).toBe(0);
  poser.close();
});
