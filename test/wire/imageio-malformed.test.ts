import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage[Symbol.asyncDispose]());

async function image(size = 65_536) {
  const path = join(stage.images, `${randomUUID()}.raw`);
  const content = randomBytes(size);
  await writeFile(path, content);
  return { id: await stage.ticket({ url: `file://${path}`, size }), path, content };
}

/** What the server says to these bytes until it ends the connection. */
async function saysTo(...parts: readonly string[]): Promise<string> {
  await using client = await RawClient.open(stage.http);
  for (const part of parts) client.send(part);
  await client.closed;
  return client.text;
}

const statusOf = (text: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]);
const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);
const answersIn = (text: string) => text.split('HTTP/1.1 ').length - 1;

describe('heads that are none', () => {
  test.each([
    [
      'a length that is no number',
      'PUT /images/x HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n',
      400,
      "Invalid Content-Length: 'abc'",
    ],
    [
      'a negative length',
      'PUT /images/x HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n',
      400,
      'Negative Content-Length: -5',
    ],
    ['a method that HTTP does not know', 'FOO /images/x HTTP/1.1\r\nhost: x\r\n\r\n', 405, "Invalid method 'FOO'"],
    ['CONNECT', 'CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n', 405, "Invalid method 'CONNECT'"],
    ['not HTTP', '\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', 400, 'Bad request syntax'],
    [
      'a length and chunks',
      'PUT /images/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
      'Bad request syntax',
    ],
    [
      'a line of 5000 bytes',
      `GET /images/${'x'.repeat(5000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
      414,
      'Request-URI Too Long',
    ],
    [
      'a line of 40000 bytes',
      `GET /images/${'x'.repeat(40_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
      414,
      'Request-URI Too Long',
    ],
    [
      'headers of 40000 bytes',
      `GET /images/x HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(40_000)}\r\n\r\n`,
      431,
      'Request Header Fields Too Large',
    ],
  ])('%s', async (_, bytes, status, text) => {
    const said = await saysTo(bytes);
    expect({ status: statusOf(said), body: bodyOf(said) }).toEqual({ status, body: `${text}\n` });
    expect(said.toLowerCase()).toContain('connection: close');
  });

  test('a line of just 4096 bytes is read', async () => {
    const path = `/images/${'x'.repeat(4096 - 'GET /images/ HTTP/1.1\r\n'.length)}`;
    expect(statusOf(await saysTo(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`))).toBe(403);
  });
});

describe('bodies', () => {
  const inner = 'GET /info/ HTTP/1.1\r\nhost: x\r\n\r\n';

  test('what follows a refused chunked PUT is never taken for a request', async () => {
    const { id } = await image();
    const chunk = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
    const said = await saysTo(
      `PUT /images/${id} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n`,
      chunk,
      inner,
      inner,
    );
    expect([statusOf(said), answersIn(said)]).toEqual([400, 1]);
    expect(said).toContain('connection: close');
    expect(bodyOf(said)).toBe('Content-Length header is required\n');
  });

  test.each([
    ['a ticket that is not there', 'nobody', 403],
    ['a Content-Range that is none', undefined, 400],
  ])('nor that of a PUT refused for %s, however short', async (_, ticket, status) => {
    const id = ticket ?? (await image()).id;
    const range = ticket === undefined ? 'content-range: bytes */5\r\n' : '';
    const said = await saysTo(
      `PUT /images/${id} HTTP/1.1\r\nhost: x\r\n${range}content-length: ${inner.length}\r\n\r\n${inner}${inner}`,
    );
    expect([statusOf(said), answersIn(said)]).toEqual([status, 1]);
    expect(said).toContain('connection: close');
  });

  test('a client that sends all of a refused GiB still sees the answer', async () => {
    await using client = await RawClient.open(stage.http);
    client.send(`PUT /images/nobody HTTP/1.1\r\nhost: x\r\ncontent-length: ${2 ** 30}\r\n\r\n`);
    const piece = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 1024 && !client.over; i++) {
      client.send(piece);
      await client.drained();
    }
    expect(statusOf(await client.until(/No such ticket nobody\n$/))).toBe(403);
  });

  test('without a length', async () => {
    const { id } = await image();
    const said = await saysTo(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    expect([statusOf(said), bodyOf(said)]).toEqual([400, 'Content-Length header is required\n']);
  });

  test('that ends too early: what came is written and counted, the rest is not touched', async () => {
    const { id, path, content } = await image();
    await using client = await RawClient.open(stage.http);
    client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n`);
    client.send('a'.repeat(3000));
    client.socket.end();
    const said = await client.until(/available 3000 bytes\n$/);
    expect([statusOf(said), bodyOf(said)]).toEqual([400, 'Requested 5000 bytes, available 3000 bytes\n']);
    content.fill('a', 0, 3000);
    expect((await readFile(path)).equals(content)).toBe(true);
    const ticket = await stage.call({ to: stage.control, path: `/tickets/${id}` });
    expect(JSON.parse(ticket.text)).toMatchObject({ transferred: 3000, active: false });
  });

  test('100 Continue comes at once, before anything is known', async () => {
    await using client = await RawClient.open(stage.http);
    client.send('PUT /images/nobody HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n');
    const said = await client.until(/No such ticket/);
    expect(said.startsWith('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 ')).toBe(true);
  });
});

describe('connections', () => {
  test('are kept after answers and after refusals without a body, ended after 403', async () => {
    const { id, content } = await image(10);
    await using client = await RawClient.open(stage.http);
    client.send(`OPTIONS /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await client.until(/"size": 10, [^}]*\}\n$/);
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\nrange: bytes=50-60\r\n\r\n`);
    await client.until(/more bytes than available: 61 > 10\n$/);
    client.send(`PUT /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc`);
    await client.until(/200 OK\r\n[^{]*content-length: 0\r\n\r\n$/);
    client.send(`POST /images/${id} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n`);
    await client.until(/Method 'POST' not defined for '[^']*'\n$/);
    expect(client.text).not.toMatch(/connection:/i);
    client.send(`GET /images/${id} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await client.until(/content-length: 10\r\n\r\n[\s\S]{10}$/);
    expect(client.text.endsWith(`abc${content.subarray(3).toString('latin1')}`)).toBe(true);
    client.send('GET /images/nobody HTTP/1.1\r\nhost: x\r\n\r\n');
    await client.closed;
    expect(client.text).toMatch(/connection: close\r\n\r\n.*No such ticket nobody\n$/);
  });

  test('pipelined requests are answered in order', async () => {
    const { id, path } = await image();
    const put = (offset: number, text: string) =>
      `PUT /images/${id}?flush=n HTTP/1.1\r\nhost: x\r\ncontent-range: bytes ${offset}-*/*\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
    const said = await saysTo(
      `${put(0, 'abc')}${put(1, 'xyz')}GET /images/${id}?close=y HTTP/1.1\r\nhost: x\r\nrange: bytes=0-3\r\n\r\n`,
    );
    expect(answersIn(said)).toBe(3);
    expect(bodyOf(said).endsWith('axyz')).toBe(true);
    expect((await readFile(path)).subarray(0, 4).toString()).toBe('axyz');
  });

  test('HTTP/1.0 gets its answer and the end of the connection', async () => {
    const { id } = await image(10);
    const said = await saysTo(`GET /images/${id}/extents HTTP/1.0\r\n\r\n`);
    expect([statusOf(said), bodyOf(said)]).toEqual([
      200,
      '[{"start": 0, "length": 10, "zero": false, "hole": false}]\n',
    ]);
  });
});
