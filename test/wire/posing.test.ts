import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { HttpConnection } from '../../src/cli/node/http-connection.ts';
import { NodeTransport } from '../../src/cli/node/node-transport.ts';
import type { HostIdentity } from '../../src/core/nouns.ts';
import { openUploadServer } from '../../src/doors/longhorn/upload-server.ts';
import { UploadServerClient } from '../../src/doors/longhorn/upload-server-client.ts';
import { certificateRequest, issueKeys, openAuthority } from '../../src/host/authority.ts';
import type { TlsKeys } from '../../src/host/tls.ts';
import { hostStage } from '../../src/service/host/testing/host-stage.ts';
import type { UploadServerWire } from '../../src/service/host/upload-server-wire.ts';

/** Agents of one authority, each with a good certificate for this address: whoever stands in the way poses as the other. */
const authority = await openAuthority(
  (make) => make(),
  () => new Date(),
);
const ca = authority.certificate;
const signal = new AbortController().signal;

interface Poser {
  readonly keys: TlsKeys;
  readonly host: HostIdentity;
}

async function agentNamed(id: string = randomUUID(), kind: 'agent' | 'control' = 'agent'): Promise<Poser> {
  const keys = await issueKeys(authority, { kind, id }, ['127.0.0.1']);
  return { keys, host: { id, keyHash: await authority.keyHash(await certificateRequest(keys.key)) } };
}

const meant = await agentNamed();
const posing = {
  'another host': [await agentNamed(), 'Another host answers'],
  'the same host with its former key': [await agentNamed(meant.host.id), 'not with the key'],
  control: [await agentNamed(meant.host.id, 'control'), 'No host answers'],
} as const;

/** Something that answers there, in turn as one and as another. */
async function listener(): Promise<AsyncDisposable & { readonly url: string; be(who: Poser): void; heard: Buffer[] }> {
  const heard: Buffer[] = [];
  const server: Server = createServer(meant.keys, async (request, response) => {
    heard.push(await buffer(request));
    response.end('the bytes');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/data`,
    heard,
    be: (who) => {
      server.setSecureContext(who.keys);
      server.closeAllConnections();
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test.each(Object.entries(posing))('the terminal sends nothing to %s, and takes nothing', async (_name, [who, said]) => {
  await using at = await listener();
  using connection = new HttpConnection();
  const transport = new NodeTransport(connection);
  const to = { url: at.url, ca, host: meant.host, headers: {}, signal };
  const into = new Uint8Array(100);
  const put = () => transport.put({ ...to, body: randomBytes(300_000) });
  const get = () => transport.get({ ...to, into });
  // Whoever takes an address over ends what was connected there.
  const cut = () => get().catch(() => {});
  expect((await put()).status).toBe(200);
  expect(await get()).toMatchObject({ status: 200, length: 9 });
  const before = at.heard.length;
  at.be(who);
  await cut();
  for (const request of [put, get]) {
    await expect(request()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining(said) });
  }
  expect(at.heard).toHaveLength(before);
  at.be(meant);
  await cut();
  expect((await put()).status).toBe(200);
  expect((await get()).length).toBe(9);
});

test('many requests go over one connection to the host', async () => {
  await using at = await listener();
  using connection = new HttpConnection();
  const transport = new NodeTransport(connection);
  const to = { url: at.url, ca, host: meant.host, headers: {}, signal };
  expect((await transport.put({ ...to, body: new Uint8Array(10) })).status).toBe(200);
  const request = connection.request(at.url, { ca, ofHost: meant.host });
  request.end();
  await once(request, 'response');
  expect(request.reusedSocket).toBe(true);
  request.destroy();
});

test.each(Object.entries(posing))(
  'an agent fetches nothing from %s, and goes on at the right one',
  async (_name, [who, said]) => {
    await using right = await hostStage({ tls: meant.keys });
    await using wrong = await hostStage({ tls: who.keys });
    await using to = await hostStage();
    const bytes = randomBytes(3 * 2 ** 20 + 5);
    const source = { ...(await right.sourceFor(await right.sealed(bytes))), ca, host: meant.host };
    const bait = await wrong.sourceFor(await wrong.sealed(bytes));
    const ref = await to.open({ declaredSize: bytes.length });
    await to.pull(ref, { ...source, url: bait.url, ticket: bait.ticket });
    const failed = await to.until(ref, ({ pull }) => pull === 'failed');
    expect(failed).toMatchObject({
      receivedBytes: 0,
      problem: { code: 'unavailable', message: expect.stringContaining(said) },
    });
    await to.pull(ref, source);
    await to.finish(ref, source.treeDigest);
    expect((await to.content(ref.storeId, ref.key)).equals(bytes)).toBe(true);
  },
);

test.each(Object.entries(posing))('control calls no upload server of %s', async (_name, [who, said]) => {
  let shown = meant.keys;
  const started: number[] = [];
  const refuse = () => Promise.reject(new Error('not asked for here'));
  const wire: UploadServerWire = {
    start: async (size) => void started.push(size),
    prepareChunk: refuse,
    uploadChunk: refuse,
    coalesceChunk: refuse,
    upload: refuse,
    close: refuse,
  };
  const tls = () => ({ ...shown, ca, mayConnect: () => true });
  const server = await openUploadServer(wire, { host: '127.0.0.1', port: 0, tls, log: { warn: () => {} } });
  const control = await agentNamed(randomUUID(), 'control');
  const client = () => new UploadServerClient(() => ({ ...control.keys, ca }));
  const start = { address: `127.0.0.1:${server.port}`, host: meant.host, path: 'start', query: { size: '7' } };
  const good = client();
  expect((await good.call(start)).status).toBe(200);
  good.close();
  shown = who.keys;
  const fooled = client();
  await expect(fooled.call(start)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(said),
  });
  shown = meant.keys;
  expect((await fooled.call(start)).status).toBe(200);
  expect(started).toEqual([7, 7]);
  fooled.close();
  await server.close();
});
