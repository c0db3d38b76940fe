import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { errorCatalogue, HawserError } from '../../core/errors.ts';
import { rawHttp } from '../api/testing/raw-http.ts';
import { missingRoute } from './missing-route.ts';
import { problemOf, problemTable } from './problem.ts';
import { createServer, expectsContinue, type ServerSettings } from './server.ts';

interface Running extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly log: Record<string, unknown>[];
}

async function start(mount: (app: FastifyInstance) => void, settings: Partial<ServerSettings> = {}): Promise<Running> {
  const log: Record<string, unknown>[] = [];
  const app = createServer({
    log: pino({ level: 'debug' }, { write: (line: string) => void log.push(JSON.parse(line)) }),
    randomId: () => 'made-up-id',
    ...settings,
  });
  mount(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}`, log, [Symbol.asyncDispose]: async () => await app.close() };
}

/** A route that refuses before it reads anything, as the byte routes do. */
const refusing = (app: FastifyInstance) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.put('/bytes', { config: { ownsBody: true } as object }, async () => {
    throw new HawserError('store-full', 'The store has 3 bytes left; 5 are needed. Free some.');
  });
  app.put('/taken', { config: { ownsBody: true } as object }, async (request, reply) => {
    if (expectsContinue(request)) reply.raw.writeContinue();
    let bytes = 0;
    for await (const chunk of request.raw) bytes += (chunk as Buffer).length;
    return { bytes };
  });
};

const jsonRoutes = (app: FastifyInstance) => {
  app.post(
    '/things',
    { schema: { body: z.object({ name: z.string().min(2), size: z.number() }) } },
    async (request) => ({
      got: request.body,
    }),
  );
  app.post('/login', { schema: { body: z.object({ password: z.number() }) } }, async () => ({}));
  app.get('/broken', async () => {
    throw Object.assign(new Error("ENOENT: no such file, open '/srv/secret/path'"), { code: 'ENOENT' });
  });
};

test('a known path with another method is 405 with Allow, an unknown one 404', async () => {
  await using running = await start((app) => {
    jsonRoutes(app);
    app.get('/things/:id/parts', async () => []);
    app.delete('/things/:id', async () => '');
    app.get('/*', async (request) => {
      throw missingRoute(request);
    });
  });
  const ask = async (method: string, path: string) => {
    const answer = await fetch(running.url + path, { method });
    return { status: answer.status, allow: answer.headers.get('allow') };
  };
  expect(await ask('PUT', '/things?a=/x')).toEqual({ status: 405, allow: 'POST' });
  expect(await ask('GET', '/things')).toEqual({ status: 405, allow: 'POST' });
  expect(await ask('POST', '/things/a%2Fb/parts')).toEqual({ status: 405, allow: 'GET, HEAD' });
  expect(await ask('GET', '/things/7')).toEqual({ status: 405, allow: 'DELETE' });
  for (const path of ['/thing', '/things/7/part', '/things/7/parts/8', '/']) {
    expect(await ask('PUT', path)).toEqual({ status: 404, allow: null });
    expect(await ask('GET', path)).toEqual({ status: 404, allow: null });
  }
  const told = (await (await fetch(`${running.url}/things`, { method: 'PATCH' })).json()) as { detail: string };
  expect(told).toMatchObject({ status: 405, code: 'unsupported', detail: 'There is no PATCH /things; there is POST.' });
});

test('who asks before sending is refused before the body', async () => {
  await using server = await start(refusing);
  await using client = await rawHttp(server.port);
  client.send('PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n');
  const answer = await client.until(/\r\n\r\n.*\}$/s);
  expect(answer).toMatch(/^HTTP\/1\.1 507 /);
  expect(answer).not.toContain('100 Continue');
  expect(answer.toLowerCase()).toContain('connection: close');
});

test('who asks before sending is told to go on exactly once', async () => {
  await using server = await start(refusing);
  await using client = await rawHttp(server.port);
  client.send('PUT /taken HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
  expect(await client.until(/100 Continue\r\n\r\n/)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  client.send('12345');
  const answer = await client.until(/\}$/);
  expect(answer).toContain('{"bytes":5}');
  expect(answer.match(/100 Continue/g)).toHaveLength(1);
});

test('a JSON route sends 100 when it begins to read', async () => {
  await using server = await start(jsonRoutes);
  await using client = await rawHttp(server.port);
  const body = '{"name":"ab","size":1}';
  client.send(
    `POST /things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
  );
  await client.until(/100 Continue/);
  client.send(body);
  expect(await client.until(/\}\}$/)).toContain('HTTP/1.1 200 OK');
});

test('a client that sends on after the refusal sees the answer and no reset', async () => {
  await using server = await start(refusing);
  await using client = await rawHttp(server.port);
  const chunk = Buffer.alloc(1024 * 1024);
  client.send('PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n');
  const answer = await client.until(/\}$/);
  await client.ended;
  // The answer is there and the server has closed its side, yet it still takes what is on its way.
  for (let i = 0; i < 16; i++) if (!client.socket.write(chunk)) await once(client.socket, 'drain');
  expect(client.socket.errored).toBeNull();
  expect(answer).toMatch(/^HTTP\/1\.1 507 /);
  expect(answer.toLowerCase()).toContain('connection: close');
});

test('a refused body is not read for ever', async () => {
  await using server = await start(refusing, { linger: { idleSeconds: 60, totalSeconds: 60, bytes: 1024 * 1024 } });
  await using client = await rawHttp(server.port);
  client.socket.on('error', () => {});
  client.send('PUT /bytes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  await client.until(/\}$/);
  const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1024 * 1024), Buffer.from('\r\n')]);
  let sent = 0;
  let closed = false;
  client.closed.then(() => {
    closed = true;
  });
  while (!closed && sent < 512) {
    sent++;
    if (!client.socket.write(piece)) await Promise.race([once(client.socket, 'drain').catch(() => {}), client.closed]);
  }
  expect(sent).toBeLessThan(512);
});

test('a silent client is given up after the idle time', async () => {
  const gone = Promise.withResolvers<void>();
  await using server = await start(
    (app) => {
      refusing(app);
      app.server.once('connection', (socket: Socket) => socket.once('close', () => gone.resolve()));
    },
    { linger: { idleSeconds: 1, totalSeconds: 60, bytes: 1024 * 1024 } },
  );
  await using client = await rawHttp(server.port);
  client.send('PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc');
  await client.until(/\}$/);
  await client.ended;
  await gone.promise;
});

test('a closing server does not wait for refused bodies', async () => {
  const server = await start(refusing);
  await using client = await rawHttp(server.port);
  client.socket.on('error', () => {});
  client.send('PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc');
  await client.until(/\}$/);
  await server[Symbol.asyncDispose]();
});

test('a closing server does not wait for a reader that stalls', async () => {
  const running = await start((app) => {
    app.get('/much', async (_request, reply) => {
      reply.hijack();
      reply.raw.writeHead(200, { 'content-length': 64 * 1024 * 1024 });
      reply.raw.write(Buffer.alloc(64 * 1024 * 1024));
    });
  });
  const socket = connect(running.port, '127.0.0.1');
  socket.on('error', () => {}); // it is reset
  socket.write('GET /much HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(socket, 'readable');
  await running[Symbol.asyncDispose]();
  socket.destroy();
});

test('a request behind a refused body is not served', async () => {
  let served = false;
  const gone = Promise.withResolvers<void>();
  await using server = await start((app) => {
    refusing(app);
    app.server.once('connection', (socket: Socket) => socket.once('close', () => gone.resolve()));
    app.get('/next', async () => {
      served = true;
      return 'served';
    });
  });
  await using client = await rawHttp(server.port);
  client.send(`PUT /bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n`);
  await client.until(/\}$/);
  client.send(Buffer.concat([Buffer.alloc(100_000), Buffer.from('GET /next HTTP/1.1\r\nHost: a\r\n\r\n')]));
  await gone.promise;
  expect(served).toBe(false);
});

test('a small refused body leaves the connection open for the next request', async () => {
  await using server = await start(jsonRoutes);
  await using client = await rawHttp(server.port);
  client.send('POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello');
  await client.until(/404 Not Found[\s\S]*\}$/);
  client.send('GET /also-nowhere HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.until(/also-nowhere/);
});

test('what is not HTTP gets a problem, not silence', async () => {
  await using server = await start(jsonRoutes);
  await using client = await rawHttp(server.port);
  client.send('HELO there\r\n\r\n');
  const answer = await client.until(/\}$/);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain('application/problem+json');
});

test('a body that does not fit says which field, what was wanted and what was found', async () => {
  await using server = await start(jsonRoutes);
  const answer = await fetch(`${server.url}/things`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"name":"a","size":"many"}',
  });
  const told = (await answer.json()) as { detail: string; details: { fields: { field: string }[] } };
  expect(answer.status).toBe(400);
  expect(told.detail).toMatch(/"name" in the body: .*>=2 .*; found "a"/i);
  expect(told.detail).toMatch(/"size" in the body: .*expected number; found "many"/i);
  expect(told.details.fields.map(({ field }) => field)).toEqual(['name', 'size']);
});

test('a password that does not fit is not shown', async () => {
  await using server = await start(jsonRoutes);
  const answer = await fetch(`${server.url}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"password":"hunter2"}',
  });
  expect(await answer.text()).not.toContain('hunter2');
});

test.each([
  ['text/plain', 'hello', 415, 'unsupported'],
  ['application/json', '{"name":', 400, 'bad-request'],
  ['application/json', '{"__proto__":{"x":1}}', 400, 'bad-request'],
  ['application/json', `"${'x'.repeat(5_000_000)}"`, 413, 'too-large'],
])('a body of %s that cannot be taken is a problem', async (type, body, status, code) => {
  await using server = await start(jsonRoutes);
  const answer = await fetch(`${server.url}/things`, { method: 'POST', headers: { 'content-type': type }, body });
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(await answer.json()).toMatchObject({ code, status });
});

test('a fault tells nothing and is logged with its cause and the request id', async () => {
  await using server = await start(jsonRoutes);
  const answer = await fetch(`${server.url}/broken`, { headers: { 'x-request-id': 'find-me' } });
  const text = await answer.text();
  expect(answer.status).toBe(500);
  expect(text).not.toMatch(/ENOENT|secret|at /);
  expect(JSON.parse(text)).toMatchObject({ code: 'internal', requestId: 'find-me' });
  const line = server.log.find(({ event }) => event === 'http.fault');
  expect(line).toMatchObject({ requestId: 'find-me', err: { message: expect.stringContaining('/srv/secret/path') } });
});

test('one line is logged for an answer, and a made-up request id replaces a strange one', async () => {
  await using server = await start(jsonRoutes);
  const answer = await fetch(`${server.url}/nowhere?token=abc`, { headers: { 'x-request-id': 'a b "c"' } });
  expect(answer.headers.get('x-request-id')).toBe('made-up-id');
  expect(answer.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  expect(JSON.stringify(server.log)).not.toContain('token=abc');
  expect(server.log.filter(({ event }) => event === 'http.answer')).toHaveLength(1);
});

test('every error code has a status and a next step', () => {
  expect(Object.keys(problemTable).sort()).toEqual(Object.keys(errorCatalogue).sort());
});

test('a message that the system wrote is not passed on', () => {
  const cause = Object.assign(new Error("ENOSPC: no space left, write '/srv/a/b'"), { path: '/srv/a/b' });
  const copied = problemOf(new HawserError('store-failed', cause.message, { cause }), 'r');
  expect(JSON.stringify(copied)).not.toContain('/srv');
  const quoted = problemOf(new HawserError('store-failed', 'Writing /srv/a/b failed.', { cause }), 'r');
  expect(quoted.body.detail).toBe('Writing (a file on the host) failed.');
});
