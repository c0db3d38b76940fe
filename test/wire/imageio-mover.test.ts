import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
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

  test('of TLS as well', async () => {
    const { id, path } = await image(5 * MiB);
    const [before, bytes] = [stage.moved(), randomBytes(5 * MiB)];
    expect((await put(stage.https, id, 0, bytes)).status).toBe(200);
    expect(stage.moved() - before).toBe(bytes.length);
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

describe('a long body for an NBD server', () => {
  /** One that writes to `path`. */
  async function nbd(size: number) {
    const folder = await mkdtemp(join(stage.folder, 'nbd-'));
    const [path, socket, pid] = [join(folder, 'image'), join(folder, 's'), join(folder, 'pid')];
    await writeFile(path, Buffer.alloc(size, 'o'));
    const server = spawn('nbdkit', ['-f', '-U', socket, '-P', pid, 'file', path], { stdio: 'ignore' });
    onTestFinished(async () => {
      server.kill('SIGKILL');
      if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    });
    while (!existsSync(pid)) await new Promise((resolve) => setImmediate(resolve));
    return { path, server, id: await stage.ticket({ url: `nbd:unix:${socket}`, size, sparse: true }) };
  }

  testWith('nbdkit')('is received by the mover, and written from its slabs', async () => {
    const { id, path } = await nbd(48 * MiB);
    const bytes = Buffer.concat([randomBytes(20 * MiB + 77), Buffer.alloc(8 * MiB), randomBytes(12 * MiB)]);
    const before = stage.moved();
    expect((await put(stage.http, id, 12_345, bytes)).status).toBe(200);
    expect(stage.moved() - before).toBe(bytes.length);
    const written = await readFile(path);
    expect(written.subarray(12_345, 12_345 + bytes.length).equals(bytes)).toBe(true);
    expect(written.subarray(0, 12_345).equals(Buffer.alloc(12_345, 'o'))).toBe(true);
    expect(written.subarray(12_345 + bytes.length).equals(Buffer.alloc(48 * MiB - 12_345 - bytes.length, 'o'))).toBe(
      true,
    );
    expect((await info(id)).transferred).toBe(bytes.length);
    expect(stage.slabs.inUse).toBe(0);
  });

  testWith('nbdkit')('side by side with others and with ones for files, again and again', async () => {
    const [one, other, file] = [await nbd(24 * MiB), await nbd(24 * MiB), await image(24 * MiB)];
    for (let round = 0; round < 3; round++) {
      const bytes = randomBytes(24 * MiB);
      const parts = [one, other, file].flatMap(({ id }) =>
        [0, 1, 2].map((i) => put(stage.unix, id, i * 8 * MiB, bytes.subarray(i * 8 * MiB, (i + 1) * 8 * MiB))),
      );
      expect((await Promise.all(parts)).map(({ status }) => status)).toEqual(parts.map(() => 200));
      for (const { path } of [one, other, file]) expect((await readFile(path)).equals(bytes)).toBe(true);
    }
    expect(stage.slabs.inUse).toBe(0);
  });

  testWith('nbdkit')('waits for a server that hangs, and holds up nobody else', async () => {
    const hung = await nbd(32 * MiB);
    const [file, other] = [await image(16 * MiB), await nbd(16 * MiB)];
    const bytes = randomBytes(32 * MiB);
    await using client = await beginPut(hung.id, bytes.length, bytes.subarray(0, 2 * MiB));
    hung.server.kill('SIGSTOP');
    client.send(bytes.subarray(2 * MiB));
    for (const { id, path } of [file, other]) {
      const moved = stage.moved();
      expect((await put(stage.http, id, 0, bytes.subarray(0, 16 * MiB))).status).toBe(200);
      expect(stage.moved() - moved).toBeGreaterThanOrEqual(16 * MiB);
      expect((await readFile(path)).equals(bytes.subarray(0, 16 * MiB))).toBe(true);
    }
    hung.server.kill('SIGCONT');
    expect(await client.until(/^HTTP/)).toMatch(/^HTTP\/1\.1 200 OK/);
    expect((await readFile(hung.path)).equals(bytes)).toBe(true);
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
