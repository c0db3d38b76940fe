import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

const MiB = 1024 * 1024;
let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage[Symbol.asyncDispose]());

async function image(size: number, values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `${randomUUID()}.raw`);
  await writeFile(path, Buffer.alloc(size, 'o'));
  return { id: await stage.ticket({ url: `file://${path}`, size, ...values }), path };
}

const info = async (id: string) => JSON.parse((await stage.call({ to: stage.control, path: `/tickets/${id}` })).text);
const remove = (id: string) => stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` });
const put = (id: string, offset: number, body: string | Buffer) =>
  stage.call({
    to: stage.http,
    method: 'PUT',
    path: `/images/${id}?flush=n`,
    headers: { 'content-range': `bytes ${offset}-*/*` },
    body,
  });

/** Asks until it is so: what a client does reaches the server some time later. */
async function until(so: () => Promise<boolean>): Promise<void> {
  while (!(await so())) await new Promise((resolve) => setImmediate(resolve));
}

async function beginPut(id: string, length: number, sent: Buffer): Promise<RawClient> {
  const client = await RawClient.open(stage.http);
  client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`);
  client.send(sent);
  await until(async () => (await info(id)).active);
  return client;
}

describe('what was transferred', () => {
  test('is the union of what was written, zeroed and is being written', async () => {
    const { id } = await image(4 * MiB);
    for (const offset of [0, 500, 5000]) expect((await put(id, offset, Buffer.alloc(1000, 'n'))).status).toBe(200);
    expect((await info(id)).transferred).toBe(2500);
    const zero = { to: stage.http, method: 'PATCH', path: `/images/${id}` };
    await stage.call({ ...zero, body: '{"op": "zero", "offset": 1400, "size": 200}' });
    expect((await info(id)).transferred).toBe(2600);
    await stage.call({ ...zero, body: '{"op": "flush"}' });
    await put(id, 4000, '');
    expect((await info(id)).transferred).toBe(2600);
    await using client = await beginPut(id, 4 * MiB, Buffer.alloc(3 * MiB, 'n'));
    // Whole slabs are written and count; what still fills one does not yet.
    await until(async () => (await info(id)).transferred === 3 * MiB);
    expect(await info(id)).toMatchObject({ active: true, idle_time: 0, connections: 1 });
    client.send(Buffer.alloc(MiB, 'n'));
    await client.until(/200 OK/);
    expect(await info(id)).toMatchObject({ active: false, transferred: 4 * MiB });
  });

  test('counts what was read, checked and asked twice once; not for a ticket with two operations', async () => {
    const { id } = await image(100, { ops: ['read'] });
    const get = (range: string) => stage.call({ to: stage.http, path: `/images/${id}`, headers: { range } });
    await get('bytes=0-9');
    await get('bytes=5-19');
    expect((await info(id)).transferred).toBe(20);
    await stage.call({ to: stage.http, path: `/images/${id}/checksum` });
    expect((await info(id)).transferred).toBe(100);
    const both = await image(100, { ops: ['read', 'write'] });
    await put(both.id, 0, 'abc');
    expect(await info(both.id)).not.toHaveProperty('transferred');
  });
});

describe('expiry', () => {
  test('is asked when a request begins: one that runs goes on, and renews', async () => {
    const { id, path } = await image(1000);
    await using client = await beginPut(id, 10, Buffer.from('abc'));
    await stage.call({ to: stage.control, method: 'PATCH', path: `/tickets/${id}`, body: '{"timeout": 0}' });
    expect((await put(id, 0, 'x')).status).toBe(403);
    client.send('defghij');
    await client.until(/200 OK/);
    expect((await put(id, 10, 'k')).status).toBe(200);
    expect((await readFile(path)).subarray(0, 12).toString()).toBe('abcdefghijko');
  });

  test('a ticket that ends before it begins is none', async () => {
    const { id } = await image(10, { timeout: -5, transfer_id: 'T' });
    expect((await put(id, 0, 'x')).text).toBe('You are not allowed to access this resource: Transfer=T expired\n');
  });
});

describe('DELETE', () => {
  // With an hour of patience and a minute for DELETE, waiting for the client would end in 409.
  const patient = { inactivity_timeout: 3600, transfer_id: 'T' };

  test('ends an upload under load at once, and nothing is written afterwards', async () => {
    const { id, path } = await image(64 * MiB, patient);
    await using client = await beginPut(id, 64 * MiB, Buffer.alloc(MiB, 'n'));
    const flood = (async () => {
      for (let i = 1; i < 64 && !client.over; i++) {
        client.send(Buffer.alloc(MiB, 'n'));
        await client.drained();
      }
    })();
    await until(async () => (await info(id)).transferred >= 4 * MiB);
    expect((await remove(id)).status).toBe(204);
    const then = await readFile(path);
    expect(await client.until(/was canceled\n$/)).toMatch(
      /^HTTP\/1\.1 403 [\s\S]*connection: close[\s\S]*Transfer=T was canceled\n$/,
    );
    await flood;
    expect((await readFile(path)).equals(then)).toBe(true);
    expect((await stage.call({ to: stage.control, path: `/tickets/${id}` })).status).toBe(404);
  });

  test('does not wait for a client that stalls in the middle of an upload', async () => {
    const { id, path } = await image(MiB, patient);
    await using client = await beginPut(id, MiB, randomBytes(1000));
    expect((await remove(id)).status).toBe(204);
    await client.until(/Transfer=T was canceled\n$/);
    expect((await readFile(path)).equals(Buffer.alloc(MiB, 'o'))).toBe(true);
  });

  test('does not wait for a client that reads nothing', async () => {
    const { id } = await image(64 * MiB, { ...patient, ops: ['read'] });
    await using client = await RawClient.open(stage.http);
    client.socket.pause();
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await until(async () => (await info(id)).active);
    expect((await remove(id)).status).toBe(204);
    client.socket.resume();
    await client.closed;
    expect(client.text.length).toBeLessThan(64 * MiB);
    expect(stage.slabs.inUse).toBe(0);
  });

  test('does not wait for connections that are open and do nothing', async () => {
    const { id } = await image(10, patient);
    await using client = await RawClient.open(stage.http);
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await client.until(/o{10}$/);
    expect((await info(id)).connections).toBe(1);
    expect((await remove(id)).status).toBe(204);
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    expect(await client.until(/No such ticket/)).toContain('403 Forbidden');
  });

  test('ends also what runs on a ticket that was replaced', async () => {
    const { id, path } = await image(MiB, patient);
    await using client = await beginPut(id, MiB, randomBytes(1000));
    await stage.ticket({ uuid: id, url: `file://${path}`, ops: ['read'] });
    expect((await info(id)).active).toBe(false);
    expect((await remove(id)).status).toBe(204);
    await client.until(/was canceled\n$/);
  });
});

describe('a client that does nothing', () => {
  test('loses its connection: in an upload, a download and between requests', async () => {
    const { id } = await image(64 * MiB, { inactivity_timeout: 1, ops: ['read', 'write'] });
    const uploading = await beginPut(id, MiB, Buffer.from('abc'));
    await using downloading = await RawClient.open(stage.http);
    downloading.socket.pause();
    downloading.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await using idle = await RawClient.open(stage.http);
    idle.send(`OPTIONS /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await idle.closed;
    expect(idle.text).toContain('200 OK');
    await uploading.closed;
    expect(uploading.text).toBe('');
    // One that reads on in time is not cut off.
    await until(async () => (await info(id)).connections === 0);
    downloading.socket.resume();
    await downloading.closed;
    expect(downloading.text.length).toBeLessThan(64 * MiB);
    expect(await info(id)).toMatchObject({ active: false });
  });

  test('holds no buffer that others need', async () => {
    const { id, path } = await image(16 * MiB, { inactivity_timeout: 3600 });
    const stalled = await Promise.all(
      Array.from({ length: 8 }, (_, i) => RawClient.open(stage.http).then((client) => ({ client, i }))),
    );
    for (const { client, i } of stalled) {
      client.send(
        `PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-range: bytes ${i * MiB}-*/*\r\ncontent-length: ${MiB}\r\n\r\nx`,
      );
    }
    await until(async () => stage.slabs.inUse === 8);
    // All eight slabs are taken, by clients that send no more.
    expect((await put(id, 8 * MiB, Buffer.alloc(3 * MiB, 'n'))).status).toBe(200);
    expect((await readFile(path)).subarray(8 * MiB, 11 * MiB).equals(Buffer.alloc(3 * MiB, 'n'))).toBe(true);
    for (const { client } of stalled) client.cut();
    await until(async () => stage.slabs.inUse === 0);
  });
});
