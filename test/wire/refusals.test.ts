import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Problem } from '../../src/contract/api/common.ts';
import { testWith } from '../needs.ts';
import { Caller, MiB, nextUploadWorks, until } from './caller.ts';
import { RawClient } from './raw-client.ts';
import { secondUser } from './second-user.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing({ yaml: 'uploads:\n  maxSize: 2TiB\n' });
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

test.each([
  ['../../etc/passwd'],
  ['..'],
  ['%2e%2e/%2e%2e/x'],
  ['a/b/c'],
  ['.hidden'],
  ['größe 图像 🖴'],
  ['C:\\windows\\x'],
  ["'; drop table images; --"],
  ['-rf'],
  ['x'.repeat(255)],
])('an image may be called %s: a name never reaches a path', async (name) => {
  const bytes = randomBytes(5000);
  const image = await api.makeImage(name, bytes);
  expect(image.name).toBe(name);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
  const found = await api.ok<{ items: { id: string }[] }>('GET', `/images?name=${encodeURIComponent(name)}`);
  expect(found.items.map(({ id }) => id)).toContain(image.id);
  const saved = await api.call('HEAD', `/images/${image.id}/data?filename=${encodeURIComponent(name)}`);
  expect(saved.headers.get('content-disposition')).not.toMatch(/filename="[^"]*[/\\]/);
  await api.ok('DELETE', `/images/${image.id}`);
});

test('after them only hexadecimal keys lie in the store, nothing else was made in the data folder', async () => {
  const names = await readdir(join(serving.dataDir, 'stores', 'default'), { recursive: true });
  expect(names.filter((name) => /etc|passwd|hidden|windows/i.test(name))).toEqual([]);
  expect((await readdir(serving.dataDir)).sort()).toEqual(['agent', 'keys', 'lock', 'pg', 'run', 'stores']);
});

test.each([
  ['', 'empty'],
  ['   ', 'blanks'],
  ['a\u0000b', 'a NUL'],
  ['a\nb', 'a line end'],
  ['x'.repeat(256), '256 characters'],
  ['x'.repeat(300), '300 characters'],
])('the name %j is refused (%s)', async (name) => {
  expect(await api.refused('POST', '/uploads', { body: { name, size: 1 } })).toMatchObject({ code: 'bad-request' });
});

test.each([
  ['..'],
  ['../../x'],
  ['%2e%2e'],
  ['%2e%2e%2f%2e%2e%2fetc%2fpasswd'],
  ['%00'],
  ['x'.repeat(300)],
  ['00000000-0000-0000-0000-00000000000g'],
  ['%F0%9F%96%B4'],
  ['%ff'],
])('the id %s is no id anywhere', async (id) => {
  for (const [method, path] of [
    ['GET', `/uploads/${id}`],
    ['PUT', `/uploads/${id}/data`],
    ['GET', `/images/${id}/data`],
    ['GET', `/data/v1/uploads/${id}/ranges`],
    ['GET', `/data/v1/copies/${id}/${id}/data`],
  ]) {
    await using client = await RawClient.open(path?.startsWith('/data') ? serving.data : serving.api);
    const target = path?.startsWith('/data') ? path : `/api/v1${path}`;
    client.head(
      `${method} ${target} HTTP/1.1`,
      `authorization: Bearer ${serving.token}`,
      'content-length: 0',
      'connection: close',
    );
    expect(Number((await client.until(/^HTTP\/1\.1 (\d+) /)).slice(9, 12))).toSatisfy((status: number) =>
      [400, 401, 404, 414].includes(status),
    );
  }
});

test('an id that nobody has is not-found', async () => {
  const id = randomUUID();
  for (const path of [
    `/uploads/${id}`,
    `/images/${id}`,
    `/images/${id}/data`,
    `/tasks/${id}`,
    `/uploads/${id}/ranges`,
  ]) {
    expect((await api.refused('GET', path)).code).toBe('not-found');
  }
  expect((await api.refusedPut(id, 0, randomBytes(10))).code).toBe('not-found');
});

test.each([[-1], [-512], [1.5], [2 ** 52 + 1], [2 ** 60], ['12'], [null], [Number.MAX_SAFE_INTEGER]])(
  'the size %s is refused before anything is made',
  async (size) => {
    expect((await api.refused('POST', '/uploads', { body: { name: 'sized', size } })).code).toBe('bad-request');
    expect((await api.ok<{ items: unknown[] }>('GET', '/uploads?name=sized')).items).toEqual([]);
  },
);

test('a size above uploads.maxSize is too-large, and one that no store has room for is store-full', async () => {
  expect(await api.refused('POST', '/uploads', { body: { name: 'l', size: 2 ** 41 + 1 } })).toMatchObject({
    code: 'too-large',
    status: 413,
  });
  expect(await api.refused('POST', '/uploads', { body: { name: 'l', size: 2 ** 41 } })).toMatchObject({
    code: 'store-full',
    status: 507,
  });
});

test.each([
  ['bytes 5-2/10'],
  ['bytes */10'],
  ['bytes 0-9'],
  ['items 0-9/10'],
  ['bytes -5-9/10'],
  ['bytes 0-9999999999999999999/*'],
  ['bytes 0-1/10'],
  ['bytes 0-9/10, bytes 20-29/30'],
])('the Content-Range "%s" over ten bytes is refused', async (range) => {
  const upload = await api.begin({ name: 'ranged', size: 10 });
  const problem = await api.refusedPut(upload.id, 0, randomBytes(10), { 'content-range': range });
  expect(problem.code).toBe('bad-request');
  expect((await api.ranges(upload.id)).receivedBytes).toBe(0);
});

test('a range beyond the declared size, and another total, are refused with nothing taken', async () => {
  const upload = await api.begin({ name: 'bounded', size: 1000 });
  expect((await api.refusedPut(upload.id, 999, randomBytes(2))).code).toBe('out-of-range');
  expect((await api.refusedPut(upload.id, 0, randomBytes(2000))).code).toBe('out-of-range');
  expect((await api.refusedPut(upload.id, 0, randomBytes(10), { 'content-range': 'bytes 0-9/999' })).code).toBe(
    'size-mismatch',
  );
  expect(
    (await api.refused('POST', `/uploads/${upload.id}/zeros`, { body: { ranges: [{ offset: 500, length: 501 }] } }))
      .code,
  ).toBe('out-of-range');
  expect(await api.ranges(upload.id)).toMatchObject({ receivedBytes: 0, ranges: [] });
});

test('a chunked body that goes beyond the declared size is cut there and refused', async () => {
  const upload = await api.begin({ name: 'endless', size: 3 * MiB });
  await using client = await RawClient.open(serving.api);
  client.head(
    `PUT /api/v1/uploads/${upload.id}/data HTTP/1.1`,
    `authorization: Bearer ${serving.token}`,
    'transfer-encoding: chunked',
  );
  const bytes = randomBytes(3 * MiB);
  for (let sent = 0; sent < 64 && !client.over && !/HTTP/.test(client.text); sent++) {
    client.send(`${bytes.length.toString(16)}\r\n`);
    client.send(bytes);
    client.send('\r\n');
    await client.drained();
  }
  expect(await client.until(/\r\n\r\n.*"code":"/)).toMatch(/^HTTP\/1\.1 416 .*"code":"out-of-range"/s);
  expect((await api.ranges(upload.id)).receivedBytes).toBeLessThanOrEqual(3 * MiB);
  await api.zeros(upload.id, ...missing(await api.ranges(upload.id), 3 * MiB));
  expect((await api.finish(upload.id)).image.size).toBe(3 * MiB);
});

testWith('curl')('with Expect: 100-continue a refusal comes before the body: no 100 is sent', async () => {
  const small = await api.begin({ name: 'small', size: 1000 });
  const paused = await api.begin({ name: 'paused', size: 2 * MiB });
  await api.put(paused.id, 0, randomBytes(10));
  await api.taskIs(paused.taskId, 'RUNNING');
  await api.ok('POST', `/tasks/${paused.taskId}/pause`);
  const good = await api.begin({ name: 'good', size: 2 * MiB });
  const cases = [
    { id: small.id, headers: [], status: 416, code: 'out-of-range' },
    { id: small.id, headers: ['Content-Range: nonsense'], status: 400, code: 'bad-request' },
    { id: paused.id, headers: [], status: 409, code: 'paused' },
    { id: randomUUID(), headers: [], status: 404, code: 'not-found' },
    { id: good.id, headers: ['Authorization: Bearer wrong'], status: 401, code: 'unauthenticated' },
  ];
  for (const { id, headers, status, code } of cases) {
    const { trace, body } = await curlPut(id, 2 * MiB, headers);
    expect(trace).not.toContain('100 Continue');
    expect(trace).toContain(`HTTP/1.1 ${status} `);
    expect((JSON.parse(body) as Problem).code).toBe(code);
  }
  const taken = await curlPut(good.id, 2 * MiB, []);
  expect(taken.trace).toContain('HTTP/1.1 100 Continue');
  expect(JSON.parse(taken.body)).toMatchObject({ complete: true });
});

/** With a patience for the 100 that no test outlasts: it must come, or a refusal. */
async function curlPut(id: string, length: number, headers: readonly string[]) {
  const given = headers.some((header) => header.startsWith('Authorization'))
    ? []
    : [`Authorization: Bearer ${serving.token}`];
  const file = join(serving.folder, 'body');
  await writeFile(file, randomBytes(length));
  const { stdout, stderr } = await promisify(execFile)(
    'curl',
    [
      ...['-sv', '--expect100-timeout', '600', '-X', 'PUT', '--data-binary', `@${file}`, '-H', 'Expect: 100-continue'],
      ...[...given, ...headers].flatMap((header) => ['-H', header]),
      `${serving.api}/api/v1/uploads/${id}/data`,
    ],
    { maxBuffer: 64 * MiB },
  );
  return { body: stdout, trace: stderr };
}

test.each([200, 200_000])('a body of %i bytes after a refused PUT is never taken for a request', async (least) => {
  const upload = await api.begin({ name: 'smuggled', size: 10 });
  const inner = `DELETE /api/v1/uploads/${upload.id} HTTP/1.1\r\nHost: x\r\nauthorization: Bearer ${serving.token}\r\ncontent-length: 0\r\n\r\n`;
  const body = inner.repeat(Math.ceil(least / inner.length));
  for (const token of [serving.token, 'wrong']) {
    await using client = await RawClient.open(serving.api);
    client.head(
      `PUT /api/v1/uploads/${upload.id}/data HTTP/1.1`,
      `authorization: Bearer ${token}`,
      `content-length: ${body.length}`,
    );
    await client.until(/"code":"(out-of-range|unauthenticated)"/);
    client.send(body);
    client.socket.end();
    await client.closed;
    expect(client.text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect((await api.upload(upload.id)).state).toBe('open');
  }
});

test('both a Content-Length and a chunked encoding on one request are refused', async () => {
  await using client = await RawClient.open(serving.api);
  client.head(
    'PUT /api/v1/uploads/x/data HTTP/1.1',
    `authorization: Bearer ${serving.token}`,
    'content-length: 5',
    'transfer-encoding: chunked',
  );
  client.send('0\r\n\r\n');
  expect(await client.until(/^HTTP\/1\.1 400 /)).toContain('bad-request');
});

test('nobody signed in, an unknown token and another form of it are unauthenticated everywhere', async () => {
  const upload = await api.begin({ name: 'guarded', size: 10 });
  for (const [method, path] of [
    ['GET', '/images'],
    ['POST', '/uploads'],
    ['PUT', `/uploads/${upload.id}/data`],
    ['GET', `/uploads/${upload.id}/ranges`],
    ['POST', `/uploads/${upload.id}/finish`],
    ['DELETE', `/uploads/${upload.id}`],
    ['GET', '/tasks'],
    ['GET', '/stores'],
    ['GET', '/events'],
    ['GET', '/tokens'],
  ] as const) {
    for (const options of [
      { token: null },
      { token: 'nobody' },
      { token: null, headers: { authorization: 'Basic YTpi' } },
    ]) {
      const problem = await api.refused(method, path, options);
      expect(problem).toMatchObject({ code: 'unauthenticated', status: 401 });
    }
  }
  expect((await api.upload(upload.id)).state).toBe('open');
});

test("a second user sees and touches nothing of the first one's", async () => {
  const other = api.as(await secondUser(serving, 'erika'));
  const image = await api.makeImage('private', randomBytes(1000));
  const upload = await api.begin({ name: 'private too', size: 1000 });
  expect((await other.ok<{ user: string }>('GET', '/me')).user).toBe('erika');
  const tries: (readonly [string, string, object?])[] = [
    ['GET', `/images/${image.id}`],
    ['GET', `/images/${image.id}/data`],
    ['GET', `/images/${image.id}/extents`],
    ['GET', `/images/${image.id}/leaves`],
    ['GET', `/images/${image.id}/access`],
    ['PATCH', `/images/${image.id}`, { name: 'mine' }],
    ['POST', `/images/${image.id}/verify`],
    ['DELETE', `/images/${image.id}`],
    ['GET', `/uploads/${upload.id}`],
    ['GET', `/uploads/${upload.id}/ranges`],
    ['GET', `/uploads/${upload.id}/leaves`],
    ['GET', `/uploads/${upload.id}/access`],
    ['POST', `/uploads/${upload.id}/zeros`, { ranges: [{ offset: 0, length: 1 }] }],
    ['POST', `/uploads/${upload.id}/discard`, { ranges: [{ offset: 0, length: 1 }] }],
    ['POST', `/uploads/${upload.id}/finish`],
    ['DELETE', `/uploads/${upload.id}`],
    ['GET', `/tasks/${upload.taskId}`],
    ['POST', `/tasks/${upload.taskId}/cancel`],
    ['POST', '/uploads', { name: 'x', size: 1, imageId: image.id }],
  ];
  for (const [method, path, body] of tries) {
    expect(await other.refused(method, path, body === undefined ? {} : { body }), `${method} ${path}`).toMatchObject({
      code: 'not-found',
    });
  }
  expect((await other.refusedPut(upload.id, 0, randomBytes(10))).code).toBe('not-found');
  for (const list of ['/images', '/uploads', '/tasks'])
    expect((await other.ok<{ items: unknown[] }>('GET', list)).items).toEqual([]);
  await nextUploadWorks(other);
  expect((await api.ranges(upload.id)).receivedBytes).toBe(0);
});

interface Access {
  readonly url: string;
  readonly token: string;
}

test('the data listener takes exactly what a ticket allows', async () => {
  const bytes = randomBytes(2 * MiB);
  const upload = await api.begin({ name: 'by ticket', size: bytes.length });
  const foreign = await api.begin({ name: 'foreign', size: bytes.length });
  const image = await api.makeImage('readable', bytes);
  const write = await api.ok<Access>('GET', `/uploads/${upload.id}/access`);
  const read = await api.ok<Access>('GET', `/images/${image.id}/access`);
  const put = (url: string, token: string | null) => api.call('PUT', `${url}/data`, { bytes, token });

  const codes = async (answer: Promise<{ json: unknown }>) => ((await answer).json as Problem).code;
  expect(await codes(put(write.url, null))).toBe('unauthenticated');
  expect(await codes(put(write.url, 'A'.repeat(43)))).toBe('unauthenticated');
  expect(await codes(put(write.url, serving.token))).toBe('unauthenticated');
  expect(await codes(put(write.url.replace(upload.id, foreign.id), write.token))).toBe('forbidden');
  expect(await codes(put(write.url, read.token))).toBe('forbidden');
  expect(await codes(api.call('GET', `${read.url}/data`, { token: write.token }))).toBe('forbidden');
  expect(
    await codes(api.call('GET', read.url.replace(/[^/]+$/, randomUUID()).concat('/data'), { token: read.token })),
  ).toBe('forbidden');
  expect((await api.ranges(upload.id)).receivedBytes).toBe(0);

  expect((await put(write.url, write.token)).status).toBe(200);
  const got = await api.call('GET', `${read.url}/data`, { token: read.token });
  expect(got.bytes.equals(bytes)).toBe(true);
  await api.finish(upload.id);
  expect((await put(write.url, write.token)).status).toBeGreaterThanOrEqual(400);
  await api.ok('DELETE', `/images/${image.id}`);
  expect((await api.call('GET', `${read.url}/data`, { token: read.token })).status).toBe(401);
});

test('a ticket that was not used for its time is over, and one that was used in time is not', async () => {
  const upload = await api.begin({ name: 'short tickets', size: 10 });
  const ticket = (timeoutSeconds: number) => installTicket(upload.id, timeoutSeconds);
  const [short, long] = [await ticket(1), await ticket(60)];
  const get = async (token: string) =>
    (await api.call('GET', `${serving.data}/data/v1/uploads/${upload.id}/ranges`, { token })).status;
  expect([await get(short), await get(long)]).toEqual([200, 200]);
  // Asking would renew it: only time that passes ends it.
  await delay(1200);
  expect([await get(short), await get(long)]).toEqual([401, 200]);
});

/** As control does, on the socket of the agent. */
function installTicket(uploadId: string, timeoutSeconds: number): Promise<string> {
  const ticketId = randomBytes(32).toString('base64url');
  const body = { ticketId, subject: { kind: 'upload', uploadId }, ops: ['read'], timeoutSeconds };
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        socketPath: join(serving.dataDir, 'run', 'agent.sock'),
        path: '/agent/v1/installTicket',
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      },
      (response) => {
        response.resume();
        response.once('end', () =>
          response.statusCode === 200 ? resolve(ticketId) : reject(new Error(`installTicket: ${response.statusCode}`)),
        );
      },
    );
    sent.once('error', reject);
    sent.end(JSON.stringify(body));
  });
}

test('a qcow2 with a backing file is refused as soon as its head is there, and the rest of 1 GiB is not sent', async () => {
  const size = 1024 * MiB;
  const upload = await api.begin({ name: 'leaky.qcow2', size, dataSize: size });
  await using client = await RawClient.open(serving.api);
  client.head(
    `PUT /api/v1/uploads/${upload.id}/data HTTP/1.1`,
    `authorization: Bearer ${serving.token}`,
    `content-length: ${size}`,
    'content-type: application/octet-stream',
  );
  client.send(qcow2Head('/etc/passwd'));
  const filler = randomBytes(MiB);
  let sent = 1;
  for (; sent < 1024 && !client.over && !/^HTTP/.test(client.text); sent++) {
    client.send(filler);
    await client.drained();
  }
  const answer = await client.until(/\r\n\r\n.*"code":"format-unsafe"/s);
  expect(answer).toMatch(/^HTTP\/1\.1 422 /);
  expect(answer).toMatch(/backing file/i);
  expect(sent).toBeLessThan(300);
  const task = await api.taskIs(upload.taskId, 'FAILURE');
  expect(task).toMatchObject({ cause: 'format-unsafe' });
  expect(await api.image(upload.imageId)).toMatchObject({
    state: 'failed',
    status: expect.stringMatching(/backing file/i),
  });
  await until(async () => (await api.refusedPut(upload.id, 0, filler)).code === 'conflict');
});

test('raw was declared and qcow2 was sent: format-mismatch', async () => {
  const bytes = Buffer.concat([qcow2Head(), Buffer.alloc(300_000, 1)]);
  const upload = await api.begin({ name: 'not raw', size: bytes.length, format: 'raw' });
  const put = await api.tryPut(upload.id, 0, bytes);
  const problem =
    put.status === 200 ? await api.refused('POST', `/uploads/${upload.id}/finish`) : (put.json as Problem);
  expect(['format-mismatch', 'conflict']).toContain(problem.code);
  expect(problem.detail).toMatch(/qcow2/);
  expect(await api.taskIs(upload.taskId, 'FAILURE')).toMatchObject({ cause: 'format-mismatch' });
  expect((await api.image(upload.imageId)).state).toBe('failed');
});

test('a qcow2 that came in pieces, its head last, is judged all the same', async () => {
  const bytes = Buffer.concat([qcow2Head('/etc/shadow'), Buffer.alloc(2 * MiB, 7)]);
  const upload = await api.begin({ name: 'head last', size: bytes.length });
  await api.put(upload.id, 40_000, bytes.subarray(40_000));
  await api.tryPut(upload.id, 0, bytes.subarray(0, 40_000));
  expect(await api.taskIs(upload.taskId, 'FAILURE')).toMatchObject({ cause: 'format-unsafe' });
});

/** The first 64 KiB of a qcow2 version 3 of 1 GiB. */
function qcow2Head(backing = ''): Buffer {
  const head = Buffer.alloc(64 * 1024);
  head.write('QFI\xfb', 0, 'latin1');
  head.writeUInt32BE(3, 4);
  if (backing !== '') {
    head.writeBigUInt64BE(200n, 8);
    head.writeUInt32BE(backing.length, 16);
    head.write(backing, 200);
  }
  head.writeUInt32BE(16, 20);
  head.writeBigUInt64BE(1n << 30n, 24);
  head.writeUInt32BE(16, 36);
  head.writeBigUInt64BE(0x30000n, 40);
  head.writeBigUInt64BE(0x10000n, 48);
  head.writeUInt32BE(1, 56);
  head.writeUInt32BE(4, 96);
  head.writeUInt32BE(104, 100);
  return head;
}

function missing({ ranges }: { ranges: readonly { offset: number; length: number }[] }, size: number) {
  const end = ranges.reduce((most, { offset, length }) => Math.max(most, offset + length), 0);
  return end < size ? [{ offset: end, length: size - end }] : [{ offset: 0, length: 0 }];
}
