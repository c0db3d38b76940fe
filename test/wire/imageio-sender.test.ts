import { randomBytes, randomUUID } from 'node:crypto';
import { truncateSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

const MiB = 1024 * 1024;
let stage: Stage;
beforeAll(async () => {
  stage = await startStage({}, 16);
});
afterAll(() => stage[Symbol.asyncDispose]());

async function image(content: Buffer, values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `${randomUUID()}.raw`);
  await writeFile(path, content);
  const size = content.length;
  return { id: await stage.ticket({ url: `file://${path}`, size, ops: ['read'], ...values }), path };
}

const info = async (id: string) => JSON.parse((await stage.call({ to: stage.control, path: `/tickets/${id}` })).text);

/** The last bytes may be with the client before the ticket hears of them. */
async function idle(id: string): Promise<void> {
  while ((await info(id)).active) await new Promise((resolve) => setImmediate(resolve));
}

const get = (to: string, id: string, range?: string) =>
  stage.call({ to, path: `/images/${id}`, headers: range === undefined ? {} : { range: `bytes=${range}` } });

/** Asks for all of an image, and takes nothing of it. */
async function stalled(id: string, to = stage.http): Promise<Reader> {
  const reader = new Reader(to);
  const before = stage.sent();
  reader.socket.write(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
  while (stage.sent() === before) await new Promise((resolve) => setImmediate(resolve));
  return reader;
}

/** A client of one request that reads when it is told to. */
class Reader implements Disposable {
  readonly socket: Socket;

  constructor(to: string) {
    const { hostname, port } = to.startsWith('/') ? { hostname: '', port: '' } : new URL(to);
    this.socket = to.startsWith('/') ? connect(to) : connect({ host: hostname, port: Number(port) });
    this.socket.on('error', () => {});
  }

  /** What arrives of the body until the connection ends, also when it is cut, or until so much is there. */
  body(length = Number.POSITIVE_INFINITY): Promise<Buffer> {
    const { socket } = this;
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      let got = 0;
      const done = () => {
        const all = Buffer.concat(chunks);
        resolve(all.subarray(all.indexOf('\r\n\r\n') + 4));
      };
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        got += chunk.length;
        const head = chunks[0]?.indexOf('\r\n\r\n') ?? 0;
        if (got === length + head + 4) done();
      });
      socket.once('close', done);
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

describe('a long GET', () => {
  test.each(['http', 'unix'] as const)('goes through the sender where the door is plain: %s', async (listener) => {
    const bytes = randomBytes(9 * MiB + 77);
    const { id } = await image(bytes);
    const before = stage.sent();
    expect((await get(stage[listener], id)).body.equals(bytes)).toBe(true);
    const part = await get(stage[listener], id, '12345-');
    expect(part.status).toBe(206);
    expect(part.body.equals(bytes.subarray(12_345))).toBe(true);
    await idle(id);
    expect(stage.sent() - before).toBe(2 * bytes.length - 12_345);
    expect((await info(id)).transferred).toBe(bytes.length);
    expect(stage.slabs.inUse).toBe(0);
  });

  test('of TLS as well', async () => {
    const bytes = randomBytes(5 * MiB);
    const { id } = await image(bytes);
    const before = stage.sent();
    expect((await get(stage.https, id)).body.equals(bytes)).toBe(true);
    await idle(id);
    expect(stage.sent() - before).toBe(bytes.length);
  });

  test('has zeros for holes, for what the file lacks of the ticket, and stops where the ticket does', async () => {
    const path = join(stage.images, `${randomUUID()}.raw`);
    await using file = await open(path, 'w');
    const bytes = Buffer.alloc(20 * MiB);
    for (const at of [0, 5, 5.5, 9, 17]) {
      const piece = randomBytes(MiB / 4);
      piece.copy(bytes, at * MiB);
      await file.write(piece, 0, piece.length, at * MiB);
    }
    const id = await stage.ticket({ url: `file://${path}`, size: 16 * MiB, ops: ['read'] });
    const before = stage.sent();
    expect((await get(stage.http, id)).body.equals(bytes.subarray(0, 16 * MiB))).toBe(true);
    await idle(id);
    expect(stage.sent() - before).toBe(16 * MiB);
  });

  test('of hundreds of extents is whole', async () => {
    const path = join(stage.images, `${randomUUID()}.raw`);
    await using file = await open(path, 'w');
    const bytes = Buffer.alloc(700 * 16 * 1024);
    for (let at = 0; at < bytes.length; at += 16 * 1024) {
      randomBytes(4096).copy(bytes, at);
      await file.write(bytes, at, 4096, at);
    }
    await file.truncate(bytes.length);
    const id = await stage.ticket({ url: `file://${path}`, size: bytes.length, ops: ['read'] });
    const before = stage.sent();
    expect((await get(stage.unix, id)).body.equals(bytes)).toBe(true);
    await idle(id);
    expect(stage.sent() - before).toBe(bytes.length);
  });

  test('is followed by other requests of its connection, also when they came at once', async () => {
    const bytes = Buffer.concat([Buffer.alloc(3 * MiB, 'a'), Buffer.from('the end')]);
    const { id } = await image(bytes);
    await using client = await RawClient.open(stage.http);
    const whole = `GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`;
    client.send(`${whole}${whole}GET /images/${id} HTTP/1.1\r\nhost: x\r\nrange: bytes=${3 * MiB + 4}-\r\n\r\n`);
    const all = await client.until(/206 Partial[\s\S]*end$/);
    expect(all.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 206']);
    expect(all.match(/a{3145728}the end/g)).toHaveLength(2);
  });

  test('for HTTP/1.0 ends with its connection', async () => {
    const bytes = randomBytes(3 * MiB);
    const { id } = await image(bytes);
    using client = new Reader(stage.http);
    client.socket.write(`GET /images/${id} HTTP/1.0\r\n\r\n`);
    expect((await client.body()).equals(bytes)).toBe(true);
  });
});

describe('in the middle of a body', () => {
  test.each(['http', 'unix'] as const)('what the client has not taken is no progress yet: %s', async (listener) => {
    const bytes = randomBytes(32 * MiB);
    const { id } = await image(bytes);
    using client = await stalled(id, stage[listener]);
    const { active, transferred } = await info(id);
    expect(active).toBe(true);
    expect(transferred).toBeGreaterThan(0);
    expect(transferred).toBeLessThan(16 * MiB);
    expect((await client.body(bytes.length)).equals(bytes)).toBe(true);
    await idle(id);
    expect((await info(id)).transferred).toBe(bytes.length);
  });

  test('DELETE ends it at once, though the client stalls and has all the time', async () => {
    const bytes = randomBytes(32 * MiB);
    const { id } = await image(bytes, { inactivity_timeout: 3600 });
    using client = await stalled(id);
    expect((await stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);
    const got = await client.body();
    expect(got.length).toBeLessThan(16 * MiB);
    expect(got.equals(bytes.subarray(0, got.length))).toBe(true);
  });

  test('a client that takes nothing loses its connection, and others are served meanwhile', async () => {
    const bytes = randomBytes(32 * MiB);
    const { id } = await image(bytes, { inactivity_timeout: 1 });
    const other = await image(bytes, { inactivity_timeout: 3600 });
    using patient = await stalled(other.id);
    using client = await stalled(id);
    expect((await get(stage.http, id)).body.equals(bytes)).toBe(true);
    await idle(id);
    expect((await client.body()).length).toBeLessThan(16 * MiB);
    expect((await info(other.id)).active).toBe(true);
    expect(patient.socket.destroyed).toBe(false);
  });

  test('a client that goes away leaves nothing behind', async () => {
    const { id } = await image(randomBytes(32 * MiB));
    using client = await stalled(id);
    client.socket.destroy();
    await idle(id);
    expect((await info(id)).transferred).toBeLessThan(16 * MiB);
  });

  test('a file that becomes shorter cuts the connection: nothing is made up', async () => {
    const bytes = randomBytes(32 * MiB);
    const { id, path } = await image(bytes);
    using client = await stalled(id);
    truncateSync(path, 20 * MiB);
    const got = await client.body();
    expect(got.length).toBeLessThanOrEqual(20 * MiB);
    expect(got.equals(bytes.subarray(0, got.length))).toBe(true);
    await idle(id);
    expect((await info(id)).transferred).toBeLessThanOrEqual(20 * MiB);
  });
});
