import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Caller, MiB } from './caller.ts';
import { evenCuts, LonghornClient } from './longhorn-client.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let client: LonghornClient;
let api: Caller;
beforeAll(async () => {
  serving = await startServing({ env: { HAWSER_LONGHORN_UPLOAD_PORTS: '0', HAWSER_AGENT_LISTEN: '127.0.0.1:0' } });
  client = new LonghornClient(serving.api, serving.token);
  api = new Caller(serving.api, serving.token);
});
afterAll(() => serving?.[Symbol.asyncDispose]());

describe('as the original client does', () => {
  test('start, chunks, coalesce, close: the bytes are those of the file', async () => {
    const bytes = randomBytes(5 * MiB + 700);
    const made = await client.create('thin');
    expect(made.uploadAddress).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(made.status.uploadAddress).toBe(made.uploadAddress);
    await client.uploadAll('thin', bytes, evenCuts(bytes.length, 2 * MiB));
    const image = await client.show('thin');
    expect(Object.values(image.diskFileStateMap)).toEqual(['ready']);
    const data = await api.call('GET', `/images/${made.uuid}/data`);
    expect(data.bytes.equals(bytes)).toBe(true);
  });
});
