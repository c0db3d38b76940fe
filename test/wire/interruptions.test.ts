import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Caller, contentDigest, MiB, nextUploadWorks, treeSha256, until } from './caller.ts';
import { RawClient } from './raw-client.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing({ yaml: 'uploads:\n  awayAfterSeconds: 1\n' });
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

test.each([
  ['reset', 0],
  ['closed', 0],
  ['reset', MiB + 77_777],
])(
  'a connection %s in the middle: what arrived counts (from %i), the rest is sent, the bytes are right',
  async (how, from) => {
    const bytes = randomBytes(24 * MiB);
    const upload = await api.begin({ name: 'cut', size: bytes.length });
    const cutAt = from + 9 * MiB + 4321;
    const client = await openPut(upload.id, from, bytes.length - from);
    client.send(bytes.subarray(from, cutAt));
    await until(async () => (await api.ranges(upload.id)).receivedBytes > 8 * MiB);
    if (how === 'reset') client.cut();
    else client.socket.destroy();
    await client.closed;

    const received = await until(async () => {
      const now = await api.ranges(upload.id);
      return how === 'reset' || now.receivedBytes === cutAt - from ? now : undefined;
    });
    expect(received.ranges).toHaveLength(1);
    expect(received.ranges[0]?.offset).toBe(from);
    expect(received.receivedBytes).toBeLessThanOrEqual(cutAt - from);
    for (;;) {
      const { ranges } = await api.ranges(upload.id);
      const [first] = ranges;
      const at = first === undefined || first.offset > 0 ? 0 : first.length;
      if (at === bytes.length) break;
      const end = first !== undefined && first.offset > at ? first.offset : bytes.length;
      await api.put(upload.id, at, bytes.subarray(at, end));
    }
    const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(bytes)}` });
    expect((await api.data(image.id)).equals(bytes)).toBe(true);
  },
);

test('of a body that was cut under a Content-Digest nothing counts', async () => {
  const bytes = randomBytes(6 * MiB);
  const upload = await api.begin({ name: 'cut under a digest', size: bytes.length });
  const client = await openPut(upload.id, 0, bytes.length, `content-digest: ${contentDigest(bytes)}`);
  client.send(bytes.subarray(0, 5 * MiB));
  await client.drained();
  await until(async () => (await api.upload(upload.id)).state === 'open');
  client.cut();
  await client.closed;
  expect((await api.ranges(upload.id)).receivedBytes).toBe(0);
  // Other bytes than those that lie on the disk by now: they were never acknowledged, so they are no conflict.
  const others = randomBytes(bytes.length);
  await api.put(upload.id, 0, others);
  const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(others)}` });
  expect((await api.data(image.id)).equals(others)).toBe(true);
});

test('a hole in what was cut under a digest reads as zeros, not as the bytes that were sent there', async () => {
  const size = 4 * MiB;
  const upload = await api.begin({ name: 'cut, then zeros', size });
  const client = await openPut(upload.id, 0, size, `content-digest: ${contentDigest(randomBytes(9))}`);
  client.send(randomBytes(3 * MiB));
  await client.drained();
  client.cut();
  await client.closed;
  await api.zeros(upload.id, { offset: 0, length: size });
  const { image } = await api.finish(upload.id, { digest: `tree-sha256:${treeSha256(Buffer.alloc(size))}` });
  expect((await api.data(image.id)).equals(Buffer.alloc(size))).toBe(true);
});

test('an upload that is cancelled while bytes arrive says so, at whatever moment: never a fault', async () => {
  const bytes = randomBytes(6 * MiB);
  for (let wait = 0; wait < 60; wait += 4) {
    const upload = await api.begin({ name: 'cancelled underway', size: bytes.length });
    const put = api.tryPut(upload.id, 0, bytes);
    // The moment is what varies; whichever it is, one of the two answers is right.
    await Promise.race([put, delay(wait)]);
    expect((await api.call('DELETE', `/uploads/${upload.id}`)).status).toBe(204);
    const answer = await put;
    if (answer.status !== 200)
      expect(answer.json).toMatchObject({ code: expect.stringMatching(/^(cancelled|not-found)$/) });
  }
});

test('a client that went away shows as PAUSED client-away, and it runs again by itself when it sends', async () => {
  const bytes = randomBytes(2 * MiB);
  const upload = await api.begin({ name: 'away', size: bytes.length });
  await api.put(upload.id, 0, bytes.subarray(0, MiB));
  const away = await api.taskIs(upload.taskId, 'PAUSED');
  expect(away).toMatchObject({ cause: 'client-away', doneBytes: MiB });
  await api.put(upload.id, MiB, bytes.subarray(MiB));
  await api.taskIs(upload.taskId, 'RUNNING');
  expect((await api.finish(upload.id)).image.state).toBe('ready');
});

test('stalled clients, each with a half-filled range, starve nobody: 40 other uploads go through', async () => {
  const half = randomBytes(MiB + MiB / 2);
  const stalled = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const upload = await api.begin({ name: 'stalled', size: 4 * MiB });
      const client = await openPut(upload.id, 0, 4 * MiB);
      client.send(half);
      await client.drained();
      return { upload, client };
    }),
  );
  const bytes = randomBytes(3 * MiB + 9);
  const digest = `tree-sha256:${treeSha256(bytes)}`;
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const upload = await api.begin({ name: `brisk ${i}`, size: bytes.length });
      await api.put(upload.id, 0, bytes);
      expect((await api.finish(upload.id, { digest })).image.state).toBe('ready');
    }),
  );
  // What they sent counts by now, though they never went on.
  for (const { upload } of stalled)
    await until(async () => (await api.ranges(upload.id)).receivedBytes === half.length);
  for (const { client } of stalled) client.cut();
  for (const { upload } of stalled) await api.ok('DELETE', `/uploads/${upload.id}`);
});

test('200 connections that never finish their headers keep nobody from being served', async () => {
  const slow = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const client = await RawClient.open(serving.api);
      client.send('PUT /api/v1/uploads/x/data HTTP/1.1\r\nHost: x\r\nx-drip: ');
      return client;
    }),
  );
  for (const client of slow) client.send('a');
  await nextUploadWorks(api);
  for (const client of slow) client.cut();
});

test('an image that is deleted while it is downloaded: what is being read ends whole or cut, never wrong', async () => {
  const bytes = randomBytes(48 * MiB);
  const image = await api.makeImage('removed underway', bytes);
  const client = await RawClient.open(serving.api);
  const chunks: Buffer[] = [];
  client.socket.pause();
  client.socket.removeAllListeners('data');
  client.head(
    `GET /api/v1/images/${image.id}/data HTTP/1.1`,
    `authorization: Bearer ${serving.token}`,
    'connection: close',
  );
  client.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  client.socket.pause();
  await api.ok('DELETE', `/images/${image.id}`);
  expect((await api.refused('GET', `/images/${image.id}/data`)).code).toBe('not-found');
  client.socket.resume();
  await client.closed;
  const all = Buffer.concat(chunks);
  const body = all.subarray(all.indexOf('\r\n\r\n') + 4);
  if (/^HTTP\/1\.1 200 /.test(all.toString('latin1', 0, 20))) {
    expect(body.equals(bytes.subarray(0, body.length))).toBe(true);
  } else {
    expect(body.toString()).toContain('"code":"not-found"');
  }
});

/** A PUT whose body is sent by hand. */
async function openPut(id: string, from: number, length: number, ...headers: readonly string[]): Promise<RawClient> {
  const client = await RawClient.open(serving.api);
  client.head(
    `PUT /api/v1/uploads/${id}/data HTTP/1.1`,
    `authorization: Bearer ${serving.token}`,
    `content-length: ${length}`,
    `content-range: bytes ${from}-${from + length - 1}/*`,
    'content-type: application/octet-stream',
    ...headers,
  );
  return client;
}
