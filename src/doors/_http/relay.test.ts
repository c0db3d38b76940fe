import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { certificateRequest, issueKeys, openAuthority } from '../../host/authority.ts';
import { type RelayRequest, relay } from './relay.ts';
import { createServer as createDoor } from './server.ts';

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.close();
});

/** The agent that bytes are relayed to. */
async function target(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ url: string; server: Server; heard: IncomingMessage[] }> {
  const heard: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    heard.push(request);
    handler(request, response);
  });
  server.on('checkContinue', (request, response) => {
    heard.push(request);
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  started.push({
    close: async () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, heard };
}

/** A door whose every request is relayed. */
async function door(to: (path: string) => RelayRequest): Promise<{ readonly port: number }> {
  const log = pino({ level: 'silent' });
  const app = createDoor({
    log,
    randomId: () => 'request-1',
    linger: { idleSeconds: 2, totalSeconds: 10, bytes: 2 ** 26 },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.addHook('onRequest', async (request, reply) => {
    await relay(request, reply, to(request.url));
  });
  app.all('/*', { config: { ownsBody: true } }, async () => ({ never: true }));
  await app.listen({ host: '127.0.0.1', port: 0 });
  started.push({ close: async () => app.close() });
  return { port: (app.server.address() as AddressInfo).port };
}

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
}

async function ask(port: number, { method = 'GET', path = '/x', headers = {}, body }: Asked = {}) {
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    method,
    path,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) },
  });
  const continued = once(request, 'continue').then(
    () => true,
    () => false,
  );
  let sent = false;
  if (headers.expect !== undefined) {
    request.flushHeaders();
    void continued.then((yes) => {
      if (!yes || sent) return;
      sent = true;
      request.end(body);
    });
  } else request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  request.destroy();
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks), sent };
}

test('a body goes through byte for byte, with a length and without, and the answer comes back as it is', async () => {
  const got: Buffer[] = [];
  const agent = await target(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    got.push(Buffer.concat(parts));
    response.writeHead(207, {
      etag: '"e"',
      'hawser-tree-digest': 'abc',
      'content-type': 'text/x',
      connection: 'x-own',
      'x-own': '1',
    });
    response.end(Buffer.concat(parts).subarray(0, 100_000));
  });
  const { port } = await door((path) => ({
    url: `${agent.url}/data${path}`,
    headers: { authorization: 'Bearer ticket' },
  }));
  const body = randomBytes(3_000_001);
  const headers = {
    authorization: 'Bearer mine',
    cookie: 'a=b',
    'content-range': 'bytes 0-3000000/*',
    'x-hop': '1',
    connection: 'x-hop',
  };
  const whole = await ask(port, { method: 'PUT', path: '/x?y=1', headers, body });
  expect(whole).toMatchObject({
    status: 207,
    headers: { etag: '"e"', 'hawser-tree-digest': 'abc', 'content-type': 'text/x' },
  });
  expect(whole.headers['x-own']).toBeUndefined();
  expect(whole.body.equals(body.subarray(0, 100_000))).toBe(true);
  const [first] = agent.heard;
  expect(first?.url).toBe('/data/x?y=1');
  expect(first?.headers).toMatchObject({
    authorization: 'Bearer ticket',
    'content-range': 'bytes 0-3000000/*',
    'content-length': '3000001',
    'x-request-id': 'request-1',
  });
  expect(first?.headers.cookie).toBeUndefined();
  expect(first?.headers['x-hop']).toBeUndefined();

  const chunked = httpRequest({
    host: '127.0.0.1',
    port,
    method: 'PUT',
    path: '/x',
    headers: { 'transfer-encoding': 'chunked' },
  });
  for (let at = 0; at < body.length; at += 777_777) chunked.write(body.subarray(at, at + 777_777));
  chunked.end();
  const [response] = (await once(chunked, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
  expect(agent.heard[1]?.headers['transfer-encoding']).toBe('chunked');
  expect(got.every((one) => one.equals(body))).toBe(true);
});

test('HEAD, ranges and conditions are the agent’s matter', async () => {
  const agent = await target((request, response) => {
    if (request.headers['if-none-match'] === '"e"') return response.writeHead(304, { etag: '"e"' }).end();
    response.writeHead(206, { 'content-length': 5, 'content-range': 'bytes 5-9/100', 'repr-digest': 'x' });
    response.end(request.method === 'HEAD' ? undefined : 'abcde');
  });
  const { port } = await door(() => ({ url: agent.url, answerHeaders: { 'content-disposition': 'attachment' } }));
  const headers = { range: 'bytes=5-9' };
  expect(await ask(port, { headers })).toMatchObject({
    status: 206,
    headers: { 'content-range': 'bytes 5-9/100', 'content-disposition': 'attachment' },
    body: Buffer.from('abcde'),
  });
  expect(await ask(port, { method: 'HEAD', headers })).toMatchObject({
    status: 206,
    headers: { 'content-length': '5' },
    body: Buffer.alloc(0),
  });
  const unchanged = await ask(port, { headers: { 'if-none-match': '"e"' } });
  expect(unchanged).toMatchObject({ status: 304, headers: { etag: '"e"' } });
  expect(unchanged.headers['content-disposition']).toBeUndefined();
});

test('Expect: 100-continue is answered by the agent: a refusal comes before the body', async () => {
  const agent = await target(async (request, response) => {
    if (request.url === '/no') {
      response.writeHead(409, { 'content-type': 'application/problem+json' }).end('{"code":"paused"}');
      return;
    }
    response.writeContinue();
    response.end(String((await text(request)).length));
  });
  const { port } = await door((path) => ({ url: `${agent.url}${path}` }));
  const body = Buffer.alloc(1_000_000, 'x');
  const headers = { expect: '100-continue' };
  const taken = await ask(port, { method: 'PUT', path: '/yes', headers, body });
  expect([taken.status, taken.body.toString(), taken.sent]).toEqual([200, '1000000', true]);
  const refused = await ask(port, { method: 'PUT', path: '/no', headers, body });
  expect([refused.status, refused.body.toString(), refused.sent]).toEqual([409, '{"code":"paused"}', false]);
});

test('a body that is refused in the middle: the answer is seen, and no more is taken than lingering allows', async () => {
  // One of our own: it reads the rest of what it has refused for a while, so that its answer is not lost in a reset.
  const agent = createDoor({ log: pino({ level: 'silent' }), randomId: () => 'request-2' });
  agent.removeAllContentTypeParsers();
  agent.addContentTypeParser('*', (_request, _payload, done) => done(null));
  agent.put('/', { config: { ownsBody: true } }, async (request, reply) => {
    await once(request.raw, 'data');
    return reply.code(422).send('no');
  });
  await agent.listen({ host: '127.0.0.1', port: 0 });
  started.push({ close: async () => agent.close() });
  const url = `http://127.0.0.1:${(agent.server.address() as AddressInfo).port}/`;
  const { port } = await door(() => ({ url }));
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    method: 'PUT',
    headers: { 'content-length': String(2 ** 40) },
  });
  request.on('error', () => {}); // the rest of the body is not wanted
  request.write(Buffer.alloc(500_000));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  expect([response.statusCode, await text(response)]).toEqual([422, 'no']);
  request.destroy();
});

test('a small body that is refused leaves the connection good for the next request', async () => {
  const agent = await target((request, response) => {
    if (request.method === 'GET') return response.end('next');
    response.writeHead(400).end('no');
  });
  const { port } = await door(() => ({ url: agent.url }));
  const socket = connect({ host: '127.0.0.1', port });
  socket.write('PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n0123456789');
  socket.write('GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  const answer = await text(socket);
  expect(answer.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 400', 'HTTP/1.1 200']);
});

test('a client that goes in the middle of its body takes the agent’s request with it', async () => {
  const ended = Promise.withResolvers<boolean>();
  const agent = await target((request) => {
    request.resume();
    request.once('close', () => ended.resolve(request.complete));
  });
  const { port } = await door(() => ({ url: agent.url }));
  const request = httpRequest({ host: '127.0.0.1', port, method: 'PUT', headers: { 'content-length': '1000000' } });
  request.on('error', () => {});
  request.write(Buffer.alloc(500_000));
  await once(agent.server, 'request');
  request.destroy();
  expect(await ended.promise).toBe(false);
});

test('a reader that goes lets the agent go; one that is slow holds it back', async () => {
  const closed = Promise.withResolvers<number>();
  let written = 0;
  const agent = await target((_request, response) => {
    response.writeHead(200, { 'content-length': 2 ** 30 });
    const piece = Buffer.alloc(2 ** 20);
    const more = () => {
      while (written < 2 ** 30) {
        written += piece.length;
        if (!response.write(piece)) return response.once('drain', more);
      }
    };
    more();
    response.once('close', () => closed.resolve(written));
  });
  const { port } = await door(() => ({ url: agent.url }));
  const request = httpRequest({ host: '127.0.0.1', port });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => {});
  await once(response, 'readable'); // and then nothing more is read
  request.destroy();
  expect(await closed.promise).toBeLessThan(2 ** 27);
});

test('an agent that breaks off: before an answer it is a problem, in the middle of one the connection is cut', async () => {
  const agent = await target((request, response) => {
    if (request.url === '/middle') {
      response.writeHead(200, { 'content-length': 1000 });
      response.write('abc', () => response.destroy());
      return;
    }
    request.once('data', () => request.socket.destroy());
  });
  const { port } = await door((path) => ({ url: `${agent.url}${path}` }));
  const before = await ask(port, { method: 'PUT', path: '/before', body: Buffer.alloc(10) });
  expect([before.status, JSON.parse(before.body.toString()).code]).toEqual([502, 'connection-lost']);
  await expect(ask(port, { path: '/middle' })).rejects.toThrow();
});

test('an agent that is not there is a problem before the body is taken', async () => {
  const { port } = await door(() => ({ url: 'http://127.0.0.1:1/' }));
  const answer = await ask(port, { method: 'PUT', body: Buffer.alloc(1000) });
  expect([answer.status, JSON.parse(answer.body.toString()).code]).toEqual([503, 'unavailable']);
});

test('a ticket that the agent does not know any more is renewed while nothing of the body was taken', async () => {
  const agent = await target(async (request, response) => {
    if (request.headers.authorization !== 'Bearer new') return response.writeHead(401).end('{}');
    if (request.headers.expect !== undefined) response.writeContinue();
    response.end(String((await text(request)).length));
  });
  const { port } = await door(() => ({
    url: agent.url,
    headers: { authorization: 'Bearer old' },
    renewed: async () => ({ url: agent.url, headers: { authorization: 'Bearer new' } }),
  }));
  expect(await ask(port)).toMatchObject({ status: 200 });
  const body = Buffer.alloc(100_000);
  const asked = await ask(port, { method: 'PUT', headers: { expect: '100-continue' }, body });
  expect([asked.status, asked.body.toString()]).toEqual([200, '100000']);
  const blind = await ask(port, { method: 'PUT', body });
  expect([blind.status, JSON.parse(blind.body.toString()).code]).toEqual([502, 'connection-lost']);
});

test('an agent that listens elsewhere now is asked for again', async () => {
  const agent = await target(async (request, response) => void response.end(String((await text(request)).length)));
  const { port } = await door(() => ({ url: 'http://127.0.0.1:1/', renewed: async () => ({ url: agent.url }) }));
  const answer = await ask(port, { method: 'PUT', body: Buffer.alloc(100_000) });
  expect([answer.status, answer.body.toString()]).toEqual([200, '100000']);
});

test('what a host calls its bytes makes them no page of ours', async () => {
  const agent = await target((_request, response) => {
    response.writeHead(200, {
      'content-type': 'text/html',
      'content-security-policy': "script-src 'unsafe-inline'",
      'x-content-type-options': 'none',
      'set-cookie': 'hawser_login=mine',
    });
    response.end('<script>steal()</script>');
  });
  const { port } = await door((path) => ({ url: `${agent.url}${path}` }));
  const { headers } = await ask(port);
  expect(headers).toMatchObject({
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
  });
  expect(headers['set-cookie']).toBe(undefined);
});

test('a good certificate for the address is not enough: it must be of the host that is meant, with its key', async () => {
  const authority = await openAuthority(
    (make) => make(),
    () => new Date(),
  );
  const meant = randomUUID();
  const heard: string[] = [];
  const listening = async (kind: 'agent' | 'control', id: string) => {
    const keys = await issueKeys(authority, { kind, id }, ['127.0.0.1']);
    const server = createTlsServer(keys, (request, response) => {
      heard.push(id);
      request.resume().once('end', () => response.end('its bytes'));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    started.push({
      close: async () => {
        server.closeAllConnections();
        server.close();
      },
    });
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return { url, id, keyHash: await authority.keyHash(await certificateRequest(keys.key)) };
  };
  const good = await listening('agent', meant);
  const other = await listening('agent', randomUUID());
  const formerly = await listening('agent', meant);
  const control = await listening('control', meant);
  const places = { '/meant': good, '/other': other, '/formerly': formerly, '/control': control };
  const { port } = await door((path) => {
    const [, place = '', of = ''] = path.split('?')[0]?.split('/') ?? [];
    const { url } = places[`/${place}` as keyof typeof places];
    const host = of === 'other' ? other : { id: meant, keyHash: of === 'any' ? null : good.keyHash };
    return { url, ca: authority.certificate, host };
  });
  const put = async (path: string) => {
    heard.length = 0;
    const answer = await ask(port, { path, method: 'PUT', body: Buffer.alloc(10) });
    return { status: answer.status, heard: heard.length, body: answer.body.toString() };
  };
  expect(await put('/meant')).toMatchObject({ status: 200, heard: 1 });
  expect(await put('/meant/any')).toMatchObject({ status: 200, heard: 1 });
  expect(await put('/formerly/any')).toMatchObject({ status: 200, heard: 1 });
  const refused = { status: 503, heard: 0 };
  expect(await put('/other')).toMatchObject({ ...refused, body: expect.stringContaining('Another host answers') });
  expect(await put('/control')).toMatchObject({ ...refused, body: expect.stringContaining('No host answers') });
  // The connection that is kept was made when any key was good.
  expect(await put('/formerly')).toMatchObject({ ...refused, body: expect.stringContaining('not with the key') });
  // A host that names the address of another one, and answered there once, is not believed for that one.
  expect(await put('/other/other')).toMatchObject({ status: 200, heard: 1 });
  expect(await put('/other')).toMatchObject({ ...refused, body: expect.stringContaining(other.id) });
});
