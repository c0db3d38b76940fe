import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { testWith } from '../needs.ts';
import { type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

const MiB = 1024 * 1024;
let stage: Stage;
beforeAll(async () => {
  stage = await startStage({}, 16);
});
afterAll(() => stage[Symbol.asyncDispose]());

async function image(size: number, values: Readonly<Record<string, unknown>> = {}, content = Buffer.alloc(size, 'o')) {
  const path = join(stage.images, `${randomUUID()}.raw`);
  await writeFile(path, content);
  return { id: await stage.ticket({ url: `file://${path}`, size, ...values }), path };
}

const info = async (id: string) => JSON.parse((await stage.call({ to: stage.control, path: `/tickets/${id}` })).text);

const put = (to: string, id: string, offset: number, body: Buffer) =>
  stage.call({
    to,
    method: 'PUT',
    path: `/images/${id}`,
    headers: { 'content-range': `bytes ${offset}-*/*` },
    body,
  });

/** A connection in the middle of a body that goes through the mover. */
async function beginPut(id: string, length: number, sent: Buffer): Promise<RawClient> {
  const before = stage.moved();
  const client = await RawClient.open(stage.http);
  client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`);
  client.send(sent);
  const whole = Math.floor(sent.length / MiB) * MiB;
  while (stage.moved() - before < whole) await new Promise((resolve) => setImmediate(resolve));
  return client;
}

describe('a long body', () => {
  test.each(['http', 'unix'] as const)('goes through the mover where the door is plain: %s', async (listener) => {
    const { id, path } = await image(12 * MiB);
    const [before, bytes] = [stage.moved(), randomBytes(9 * MiB + 77)];
    expect((await put(stage[listener], id, 12_345, bytes)).status).toBe(200);
    expect(stage.moved() - before).toBe(bytes.length);
    const written = await readFile(path);
    expect(written.subarray(12_345, 12_345 + bytes.length).equals(bytes)).toBe(true);
    expect(written.subarray(0, 12_345).equals(Buffer.alloc(12_345, 'o'))).toBe(true);
    expect((await info(id)).transferred).toBe(bytes.length);
    expect(stage.slabs.inUse).toBe(0);
  });

  test('of TLS does not', async () => {
    const { id, path } = await image(5 * MiB);
    const [before, bytes] = [stage.moved(), randomBytes(5 * MiB)];
    expect((await put(stage.https, id, 0, bytes)).status).toBe(200);
    expect(stage.moved()).toBe(before);
    expect((await readFile(path)).equals(bytes)).toBe(true);
  });

  test.each([true, false])('has holes for its zeros when its ticket is sparse: %s', async (sparse) => {
    const { id, path } = await image(10 * MiB, { sparse });
    const bytes = Buffer.concat([randomBytes(MiB), Buffer.alloc(8 * MiB), randomBytes(MiB)]);
    const before = stage.moved();
    expect((await put(stage.http, id, 0, bytes)).status).toBe(200);
    expect(stage.moved() - before).toBe(bytes.length);
    expect((await readFile(path)).equals(bytes)).toBe(true);
    const { blocks } = await stat(path);
    if (sparse) expect(blocks * 512).toBeLessThan(3 * MiB);
    else expect(blocks * 512).toBeGreaterThanOrEqual(10 * MiB);
    expect((await info(id)).transferred).toBe(10 * MiB);
  });

  test('makes an empty file as long as what was written, also side by side and with zeros at the end', async () => {
    const { id, path } = await image(24 * MiB, { sparse: true }, Buffer.alloc(0));
    const parts = Array.from({ length: 4 }, () => Buffer.concat([randomBytes(2 * MiB), Buffer.alloc(3 * MiB)]));
    const answers = await Promise.all(
      parts.map((part, i) => put(i % 2 === 0 ? stage.http : stage.https, id, i * 5 * MiB, part)),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await readFile(path)).equals(Buffer.concat(parts))).toBe(true);
    expect((await info(id)).transferred).toBe(20 * MiB);
  });

  test('that ends too early leaves what came, and the answer says what was missing', async () => {
    const { id, path } = await image(8 * MiB);
    const bytes = randomBytes(3.5 * MiB);
    await using client = await beginPut(id, 8 * MiB, bytes);
    client.socket.end();
    expect(await client.until(/available \d+ bytes\n$/)).toMatch(
      /400 Bad Request[\s\S]*Requested 8388608 bytes, available 3670016 bytes\n$/,
    );
    expect((await readFile(path)).subarray(0, bytes.length).equals(bytes)).toBe(true);
    expect((await info(id)).transferred).toBe(bytes.length);
  });

  test('is followed by other requests of its connection', async () => {
    const { id } = await image(6 * MiB, { ops: ['read', 'write'] });
    await using client = await beginPut(id, 6 * MiB, Buffer.alloc(2 * MiB, 'n'));
    client.send(Buffer.alloc(4 * MiB, 'n'));
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\nrange: bytes=6291450-\r\n\r\n`);
    expect(await client.until(/n{6}$/)).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*HTTP\/1\.1 206 Partial Content/);
  });
});

describe('in the middle of a body', () => {
  test('DELETE ends it at once, though the client stalls and has all the time', async () => {
    const { id, path } = await image(32 * MiB, { inactivity_timeout: 3600, transfer_id: 'T' });
    await using client = await beginPut(id, 32 * MiB, Buffer.alloc(3.5 * MiB, 'n'));
    expect((await stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);
    const then = await readFile(path);
    expect(await client.until(/was canceled\n$/)).toMatch(/^HTTP\/1\.1 403 [\s\S]*connection: close/);
    client.send(Buffer.alloc(MiB, 'n'));
    expect((await readFile(path)).equals(then)).toBe(true);
    expect(stage.slabs.inUse).toBe(0);
  });

  test('a client that says nothing loses its connection; what it sent stays and counts', async () => {
    const { id, path } = await image(8 * MiB, { inactivity_timeout: 1 });
    const bytes = randomBytes(2.5 * MiB);
    await using client = await beginPut(id, 8 * MiB, bytes);
    await expect(client.until(/HTTP/)).rejects.toThrow('ended without');
    while ((await info(id)).active) await new Promise((resolve) => setImmediate(resolve));
    expect((await readFile(path)).subarray(0, bytes.length).equals(bytes)).toBe(true);
    expect((await info(id)).transferred).toBe(bytes.length);
  });

  testWith('root')('a filesystem that is full is an error of ours, and the log says which', async () => {
    const folder = join(stage.images, 'small');
    await mkdir(folder);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', folder]);
    onTestFinished(() => void execFileSync('umount', ['-l', folder]));
    const path = join(folder, 'image');
    await writeFile(path, '');
    const id = await stage.ticket({ url: `file://${path}`, size: 32 * MiB });
    const before = stage.moved();
    const answer = await put(stage.http, id, 0, randomBytes(16 * MiB));
    expect(stage.moved()).toBeGreaterThan(before);
    expect([answer.status, answer.text]).toEqual([500, 'Server failed to perform the request, check logs\n']);
    expect(stage.log).toContainEqual(expect.objectContaining({ code: 'store-full' }));
    expect((await info(id)).transferred).toBeLessThanOrEqual(8 * MiB);
  });
});
