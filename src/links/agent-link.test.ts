import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AgentEvent } from '../contract/link.ts';
import { isHawserError } from '../core/errors.ts';
import { connectAgent } from './agent-link.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-link-'));
});
afterEach(() => rm(folder, { recursive: true }));

const full: AgentEvent = {
  kind: 'full',
  host: {
    hostId: '6f1f0a52-5a5e-4f0e-9d7c-0a0a0a0a0a0a',
    name: 'h',
    bootId: 'b',
    version: '1',
    linkVersion: 1,
    minLinkVersion: 1,
    dataUrls: [],
    dataCa: null,
    agentUrl: null,
    tags: [],
    generation: null,
    stores: [],
  },
  uploads: [],
  work: [],
};

test('an agent that is not there is unavailable, for a command at once, for events until it comes', async () => {
  const path = join(folder, 'agent.sock');
  const link = connectAgent(path);
  await expect(link.call('describe', {})).rejects.toSatisfy((e) => isHawserError(e, 'unavailable'));
  const stop = new AbortController();
  const events = link.events(stop.signal)[Symbol.asyncIterator]();
  const first = events.next();
  const server = createServer((_request, response) => {
    response.write(`${JSON.stringify(full)}\n`);
    response.socket?.end(); // the stream breaks …
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  expect((await first).value).toEqual(full);
  expect((await events.next()).value).toEqual(full); // … and begins anew with all of it
  stop.abort();
  expect((await events.next()).done).toBe(true);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test('what the agent refuses arrives with its code, message and details', async () => {
  const path = join(folder, 'agent.sock');
  const server = createServer((_request, response) => {
    response
      .writeHead(409)
      .end(JSON.stringify({ error: { code: 'incomplete', message: 'm', details: { missingBytes: 7 } } }));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await expect(connectAgent(path).call('describe', {})).rejects.toMatchObject({
    code: 'incomplete',
    message: 'm',
    details: { missingBytes: 7 },
  });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});
