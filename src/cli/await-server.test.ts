import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { ApiClient } from '../client/api-client.ts';
import { systemClock } from '../client/system-clock.ts';
import { awaitServer } from './await-server.ts';
import { HttpConnection } from './node/http-connection.ts';

const patient = { timeout: 60_000, interval: 20 };
let said = '';
vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
  said += String(text);
  return true;
});
afterEach(() => {
  said = '';
});

async function answering(server: Server, port = 0): Promise<string> {
  server.on('request', (_request, response) => {
    const body = { user: 'admin', role: 'admin', hasPassword: false, version: '1' };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function closed(server: Server): Promise<unknown> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
}

function wait(url: string, signal: AbortSignal, connection: HttpConnection): Promise<void> {
  const api = new ApiClient({ server: url, fetch: connection.fetch, clock: systemClock, repeats: 0 });
  return awaitServer({ api }, signal, {});
}

test('a server that is down at first is waited for, and stderr says so', async () => {
  using connection = new HttpConnection();
  const first = createServer();
  const url = await answering(first);
  await closed(first);
  const waiting = wait(url, new AbortController().signal, connection);
  await vi.waitFor(() => expect(said).toContain('Waiting for it; Ctrl-C ends that.'), patient);
  const second = createServer();
  await answering(second, Number(new URL(url).port));
  await waiting;
  await closed(second);
});

test('Ctrl-C ends the waiting', async () => {
  using connection = new HttpConnection();
  const server = createServer();
  const url = await answering(server);
  await closed(server);
  const stop = new AbortController();
  const waiting = wait(url, stop.signal, connection);
  waiting.catch(() => undefined);
  await vi.waitFor(() => expect(said).toContain('Waiting for it'), patient);
  stop.abort(new Error('stopped by hand'));
  await expect(waiting).rejects.toThrow('stopped by hand');
});

test('a server whose name does not exist is not waited for', async () => {
  using connection = new HttpConnection();
  const waiting = wait('http://no-such-host.invalid:1', new AbortController().signal, connection);
  await expect(waiting).rejects.toMatchObject({ code: 'unavailable' });
  expect(said).toBe('');
});
