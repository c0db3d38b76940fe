import { once } from 'node:events';
import { expect, test } from 'vitest';
import WebSocket from 'ws';
import { apiEvent } from '../../contract/api/events.ts';
import { ADMIN_TOKEN } from './testing/memory-use-cases.ts';
import { rawHttp } from './testing/raw-http.ts';
import { image, task } from './testing/sample-nouns.ts';
import { type RunningApi, startApi } from './testing/start-api.ts';

function open(api: RunningApi, headers: Record<string, string>) {
  const socket = new WebSocket(`${api.url.replace('http', 'ws')}/api/v1/events`, { headers });
  const messages: unknown[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  socket.on('message', (data) => {
    messages.push(apiEvent.parse(JSON.parse(String(data))));
    for (const { count, resolve } of waiting) if (messages.length >= count) resolve();
  });
  socket.on('error', () => {});
  const got = (count: number) =>
    new Promise<unknown[]>((resolve) => {
      const look = () => resolve(messages);
      waiting.push({ count, resolve: look });
      if (messages.length >= count) look();
    });
  return { socket, got };
}

const bearer = { authorization: `Bearer ${ADMIN_TOKEN}` };

async function refusal(socket: WebSocket): Promise<number | undefined> {
  const [, response] = await once(socket, 'unexpected-response');
  socket.terminate();
  return (response as { statusCode?: number }).statusCode;
}

test('a WebSocket hears hello first and then each change', async () => {
  await using api = await startApi();
  const { socket, got } = open(api, bearer);
  await got(1);
  api.useCases.publish({ kind: 'task', task });
  api.useCases.publish({ kind: 'image', image });
  const [hello, first, second] = await got(3);
  expect(hello).toEqual({ kind: 'hello', version: '1.2.3' });
  expect(first).toMatchObject({ kind: 'task', task: { state: 'RUNNING' } });
  expect(second).toMatchObject({ kind: 'image', image: { name: 'debian' } });
  socket.close();
  await once(socket, 'close');
});

test('a closed WebSocket is not kept', async () => {
  await using api = await startApi();
  const { socket, got } = open(api, bearer);
  await got(1);
  expect(api.useCases.subscribers()).toBe(1);
  const gone = once(api.server.websocketServer.clients.values().next().value ?? socket, 'close');
  socket.terminate();
  await gone;
  expect(api.useCases.subscribers()).toBe(0);
});

test('a WebSocket whose client does not say goodbye does not hold a stop up', async () => {
  const api = await startApi();
  await using client = await rawHttp(Number(new URL(api.url).port));
  client.socket.on('error', () => {});
  client.send(
    `GET /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: ${bearer.authorization}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  await client.until(/hello/);
  const begun = performance.now();
  await api[Symbol.asyncDispose]();
  expect(performance.now() - begun).toBeLessThan(20_000); // ws waits 30 s for the other side's goodbye
});

test('a WebSocket without a credential, or with a cookie from elsewhere, is refused', async () => {
  await using api = await startApi();
  expect(await refusal(open(api, {}).socket)).toBe(401);
  const signedIn = await fetch(`${api.url}/api/v1/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: ADMIN_TOKEN }),
  });
  const cookie = signedIn.headers.get('set-cookie')?.split(';')[0] ?? '';
  expect(await refusal(open(api, { cookie, origin: 'https://evil.example' }).socket)).toBe(403);
  expect(await refusal(open(api, { cookie }).socket)).toBe(403);
  const own = open(api, { cookie, origin: api.url });
  await own.got(1);
  own.socket.terminate();
});

test('a login that ended ends its WebSocket', async () => {
  await using api = await startApi({ app: { events: { pingSeconds: 0.05, maxWaiting: 1024 * 1024 } } });
  const { socket, got } = open(api, bearer);
  await got(1);
  const closed = once(socket, 'close');
  api.useCases.revoke(ADMIN_TOKEN);
  await closed;
});

test('a client that answers no ping is dropped', async () => {
  await using api = await startApi({ app: { events: { pingSeconds: 0.05, maxWaiting: 1024 * 1024 } } });
  await using client = await rawHttp(api.port);
  client.socket.on('error', () => {});
  client.send(
    `GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  await client.until(/101 Switching Protocols/);
  for (const served of api.server.websocketServer.clients) await once(served, 'close');
  expect(api.useCases.subscribers()).toBe(0);
});

test('an event stream begins with hello and carries changes', async () => {
  await using api = await startApi();
  await using client = await rawHttp(api.port);
  client.send(
    `GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n\r\n`,
  );
  const head = await client.until(/data: \{"kind":"hello","version":"1.2.3"\}\n\n/);
  expect(head.toLowerCase()).toContain('content-type: text/event-stream');
  api.useCases.publish({ kind: 'image-deleted', id: image.id });
  await client.until(/data: \{"kind":"image-deleted"/);
});

test.each(['text/event-stream', 'websocket'])('a client of %s that does not read is dropped', async (kind) => {
  await using api = await startApi({ app: { events: { pingSeconds: 20, maxWaiting: 64 * 1024 } } });
  await using client = await rawHttp(api.port);
  client.socket.on('error', () => {});
  const asked =
    kind === 'websocket'
      ? 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
      : 'Accept: text/event-stream';
  client.send(`GET /api/v1/events HTTP/1.1\r\nHost: a\r\n${asked}\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n\r\n`);
  await client.until(/hello/);
  client.socket.pause();
  const long = { ...image, status: 'x'.repeat(100_000) };
  let published = 0;
  while (api.useCases.subscribers() > 0 && published < 2000) {
    api.useCases.publish({ kind: 'image', image: long });
    published++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(published).toBeLessThan(2000);
  expect(api.log.some(({ event }) => event === 'events.dropped')).toBe(true);
});

test('a plain GET is told how to ask', async () => {
  await using api = await startApi();
  const answer = await api.ask('/events');
  expect(answer.status).toBe(400);
  expect(await answer.json()).toMatchObject({ detail: expect.stringContaining('WebSocket') });
  expect(api.useCases.subscribers()).toBe(0);
});

test('closing the server ends event streams', async () => {
  const api = await startApi();
  await using client = await rawHttp(api.port);
  client.send(
    `GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n\r\n`,
  );
  await client.until(/hello/);
  const { socket, got } = open(api, bearer);
  await got(1);
  await Promise.all([api.server.close(), client.ended, once(socket, 'close')]);
});
