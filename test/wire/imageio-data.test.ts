import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Stage, startStage, type Target } from './imageio-stage.ts';

const SIZE = 65_536;
let stage: Stage;
let count = 0;

beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage[Symbol.asyncDispose]());

/** A file of `content`, and a ticket to it. */
async function image(content: Buffer = randomBytes(SIZE), values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `image-${count++}.raw`);
  await writeFile(path, content);
  const id = await stage.ticket({ url: `file://${path}`, size: content.length, ops: ['read', 'write'], ...values });
  return { id, path, content };
}

const on = (id: string, more: Partial<Target> = {}) => stage.call({ to: stage.http, path: `/images/${id}`, ...more });
const asJson = (answer: Answer) => JSON.parse(answer.text);

function expectRefusal(answer: Answer, status: number, text: string): void {
  expect({ status: answer.status, text: answer.text }).toEqual({ status, text: `${text}\n` });
  expect(answer.headers['content-type']).toBe('text/plain; charset=UTF-8');
  expect(answer.headers['content-length']).toBe(String(Buffer.byteLength(answer.text)));
}
const denied = (reason: string) => `You are not allowed to access this resource: ${reason}`;

describe('OPTIONS', () => {
  test('of all images tells all features and no limits', async () => {
    const answer = await on('*', { method: 'OPTIONS' });
    expect(answer.status).toBe(200);
    expect(answer.headers.allow).toBe('OPTIONS,GET,PUT,PATCH');
    expect(asJson(answer)).toEqual({ unix_socket: stage.unix, features: ['checksum', 'extents', 'flush', 'zero'] });
    expect(answer.text.endsWith('}\n')).toBe(true);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers.server).toMatch(/^imageio\/2\.5\.3/);
  });

  test.each([
    [['read'], 'OPTIONS,GET', ['checksum', 'extents']],
    [['write'], 'OPTIONS,GET,PUT,PATCH', ['checksum', 'extents', 'flush', 'zero']],
    [['read', 'write'], 'OPTIONS,GET,PUT,PATCH', ['checksum', 'extents', 'flush', 'zero']],
  ])('of a ticket with %j tells what it may, and the size', async (ops, allow, features) => {
    const { id } = await image(undefined, { ops });
    const answer = await on(id, { method: 'OPTIONS' });
    expect(answer.headers.allow).toBe(allow);
    expect(asJson(answer)).toEqual({
      unix_socket: stage.unix,
      features,
      max_readers: 8,
      max_writers: 1,
      size: SIZE,
      partial: ['checksum', 'extents'],
    });
  });

  test('of a ticket that is not there is 403, and the connection ends', async () => {
    const answer = await on('nobody', { method: 'OPTIONS' });
    expectRefusal(answer, 403, denied('No such ticket nobody'));
    expect(answer.headers.connection).toBe('close');
  });

  test('without an id is 400; of a file that cannot be opened 500', async () => {
    expectRefusal(await on('', { method: 'OPTIONS' }), 400, 'Ticket id is required');
    const id = await stage.ticket({ url: `file://${stage.images}/missing` });
    expectRefusal(await on(id, { method: 'OPTIONS' }), 500, 'Server failed to perform the request, check logs');
  });

  test('is a use of the ticket, and an answer to a preflight', async () => {
    const { id } = await image();
    await stage.call({ to: stage.control, method: 'PATCH', path: `/tickets/${id}`, body: '{"timeout": 10}' });
    const answer = await on(id, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://engine.example',
        'access-control-request-method': 'PUT',
        'access-control-request-headers': 'content-range',
      },
    });
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-headers': '*',
      'access-control-allow-methods': 'OPTIONS,GET,PUT',
      'access-control-max-age': '86400',
    });
    const ticket = asJson(await stage.call({ to: stage.control, path: `/tickets/${id}` }));
    expect(new Date(ticket.expires_at).getTime() - Date.now()).toBeGreaterThan(250_000);
  });

  test('lets a page PATCH that asks for it, which the original does not', async () => {
    const { id } = await image();
    const origin = 'https://engine.example';
    const asked = { origin, 'access-control-request-method': 'PATCH' };
    const answer = await on(id, { method: 'OPTIONS', headers: asked });
    expect(answer.headers['access-control-allow-methods']).toBe('OPTIONS,GET,PUT,PATCH');
    for (const [path, method] of [
      [id, 'PATCH'],
      [`${id}/extents`, 'GET'],
      [`${id}/checksum`, 'GET'],
    ] as const) {
      const body = method === 'PATCH' ? { body: '{"op": "flush"}' } : {};
      const plain = await on(path, { method, ...body });
      expect(Object.keys(plain.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
      const crossed = await on(path, { method, headers: { origin }, ...body });
      expect([crossed.status, crossed.headers['access-control-allow-origin']]).toEqual([200, '*']);
    }
  });

  test('of a ticket that is not there refuses a preflight, with its headers', async () => {
    const answer = await on('nobody', { method: 'OPTIONS', headers: { origin: 'https://x' } });
    expect(answer.status).toBe(403);
    expect(answer.headers['access-control-allow-origin']).toBe('*');
  });
});

describe('GET', () => {
  test('without Range is the whole, as an attachment', async () => {
    const { id, content } = await image(undefined, { filename: 'disk.raw' });
    const answer = await on(id);
    expect(answer.status).toBe(200);
    expect(answer.body.equals(content)).toBe(true);
    expect(answer.headers).toMatchObject({
      'content-length': String(SIZE),
      'content-type': 'application/octet-stream',
      'content-disposition': 'attachment; filename=disk.raw',
      'accept-ranges': 'bytes',
    });
    expect(answer.headers['content-range']).toBeUndefined();
    expect(answer.headers.connection).not.toBe('keep-alive');
    expect(answer.rawHeaders.filter((_, i) => i % 2 === 0 && answer.rawHeaders[i] !== 'connection')).toEqual(
      [...answer.rawHeaders]
        .filter((_, i) => i % 2 === 0 && answer.rawHeaders[i] !== 'connection')
        .map((n) => n.toLowerCase()),
    );
  });

  test.each([
    ['bytes=0-0', 0, 1],
    ['bytes=10-99', 10, 90],
    ['bytes=65535-65535', 65_535, 1],
    ['bytes=65530-', 65_530, 6],
    ['bytes=0-', 0, SIZE],
  ])('of %s is 206', async (range, offset, length) => {
    const { id, content } = await image();
    const answer = await on(id, { headers: { range } });
    expect(answer.status).toBe(206);
    expect(answer.headers['content-range']).toBe(`bytes ${offset}-${offset + length - 1}/${SIZE}`);
    expect(answer.headers['content-length']).toBe(String(length));
    expect(answer.body.equals(content.subarray(offset, offset + length))).toBe(true);
  });

  test.each([
    ['bytes=0-65536', 'Requested more bytes than available: 65537 > 65536', 'bytes */65536'],
    ['bytes=70000-80000', 'Requested more bytes than available: 80001 > 65536', 'bytes */65536'],
    // The original answers 206 of no bytes, and 400 of a negative number.
    ['bytes=65536-', 'Requested more bytes than available: 65537 > 65536', 'bytes */65536'],
    ['bytes=70000-', 'Requested more bytes than available: 70001 > 65536', 'bytes */65536'],
    [
      'bytes=99999999999999999999-',
      'Requested more bytes than available: 100000000000000000000 > 65536',
      'bytes */65536',
    ],
    ['bytes=-10', 'suffix-byte-range-spec not supported yet', undefined],
    ['bytes=-', "Cannot satisfy range 'bytes=-', no first or last", undefined],
    ['bytes=9-5', "Cannot satisfy range 'bytes=9-5', first > last", undefined],
    ['bytes=0-1,5-6', "Cannot satisfy range 'bytes=0-1,5-6', invalid range or multiple ranges", undefined],
    ['bytes 0-1', "Cannot satisfy range 'bytes 0-1', invalid range or multiple ranges", undefined],
    ['Bytes=0-1', "Cannot satisfy range 'Bytes=0-1', invalid range or multiple ranges", undefined],
    ['bytes=a-b', "Cannot satisfy range 'bytes=a-b', invalid range or multiple ranges", undefined],
  ])('of %s is 416', async (range, text, contentRange) => {
    const { id } = await image();
    const answer = await on(id, { headers: { range } });
    expectRefusal(answer, 416, text);
    expect(answer.headers['content-range']).toBe(contentRange);
  });

  test('gives what the file has when the ticket allows more, and what the ticket allows when the file has more', async () => {
    const more = await image(undefined, { size: 2 ** 40, ops: ['read'] });
    expect((await on(more.id)).body.equals(more.content)).toBe(true);
    const beyond = await on(more.id, { headers: { range: 'bytes=0-65536' } });
    expect([beyond.status, beyond.headers['content-range']]).toEqual([416, 'bytes */65536']);
    expect((await on(more.id, { headers: { range: 'bytes=0-9' } })).headers['content-range']).toBe(
      `bytes 0-9/${2 ** 40}`,
    );
    const less = await image(undefined, { size: 1000, ops: ['read'] });
    expect((await on(less.id)).body.equals(less.content.subarray(0, 1000))).toBe(true);
    expect((await on(less.id, { headers: { range: 'bytes=0-1000' } })).status).toBe(416);
  });

  test('a ticket of 2^64 bytes says so, and serves what there is', async () => {
    const path = join(stage.images, 'huge.raw');
    await writeFile(path, 'abc');
    const body = `{"uuid": "huge", "size": 18446744073709551616, "url": "file://${path}", "timeout": 300, "ops": ["write"]}`;
    await stage.call({ to: stage.control, method: 'PUT', path: '/tickets/huge', body });
    expect((await on('huge')).text).toBe('abc');
    const part = await on('huge', { headers: { range: 'bytes=1-1' } });
    expect([part.text, part.headers['content-range']]).toEqual(['b', 'bytes 1-1/18446744073709551616']);
    const put = await on('huge', {
      method: 'PUT',
      body: 'xyz',
      headers: { 'content-range': 'bytes 18446744073709551615-*/*' },
    });
    expectRefusal(put, 416, 'Requested range out of allowed range');
    expect(put.headers['content-range']).toBe('bytes */18446744073709551616');
    // Within the ticket, and still more than any file here can have.
    const far = await on('huge', {
      method: 'PUT',
      body: 'xyz',
      headers: { 'content-range': 'bytes 9007199254740992-*/*' },
    });
    expect(far.status).toBe(416);
    expect((await on('huge', { method: 'PUT', body: 'def', headers: { 'content-range': 'bytes 3-*/*' } })).status).toBe(
      200,
    );
    expect(await readFile(path, 'utf8')).toBe('abcdef');
    expect((await stage.call({ to: stage.control, path: '/tickets/huge' })).text).toContain(
      '"size": 18446744073709551616',
    );
  });

  test('with close=y ends the connection', async () => {
    const { id } = await image();
    expect((await on(`${id}?close=y`)).headers.connection).toBe('close');
    expect(
      (await on(`${id}?close=y&close=n`, { headers: { connection: 'keep-alive' } })).headers.connection,
    ).toBeUndefined();
  });

  test('a changed file is never spliced: If-Range with its ETag', async () => {
    const { id, content, path } = await image(undefined, { ops: ['read'] });
    const etag = String((await on(id)).headers.etag);
    expect((await on(id, { headers: { range: 'bytes=0-9', 'if-range': etag } })).status).toBe(206);
    content[5] = 1 + (content[5] ?? 0);
    await writeFile(path, content);
    const after = await on(id, { headers: { range: 'bytes=0-9', 'if-range': etag } });
    expect([after.status, after.body.equals(content)]).toEqual([200, true]);
    expect(after.headers.etag).not.toBe(etag);
  });

  test('a file name cannot end its header', async () => {
    const { id } = await image(undefined, { filename: 'a"b\r\nx: y; ä' });
    expect((await on(id)).headers['content-disposition']).toMatch(/^attachment; filename="[ -~]*"; filename\*=UTF-8''/);
  });

  test('HEAD tells what GET would, without a use of the ticket', async () => {
    const { id } = await image();
    const answer = await on(id, { method: 'HEAD' });
    expect([answer.status, answer.headers['content-length'], answer.body.length]).toEqual([200, String(SIZE), 0]);
    expectRefusal(await on('nobody'), 403, denied('No such ticket nobody'));
  });

  test('of an empty file is empty', async () => {
    const { id } = await image(Buffer.alloc(0));
    const answer = await on(id);
    expect([answer.status, answer.headers['content-length']]).toEqual([200, '0']);
    expect((await on(id, { headers: { range: 'bytes=0-' } })).status).toBe(416);
  });
});

describe('PUT', () => {
  const body = randomBytes(5000);

  test.each([
    [undefined, 0],
    ['bytes 100-5099/65536', 100],
    ['bytes 100-*/*', 100],
    ['bytes 100-*/65536', 100],
    // Content-Length alone says how long it is.
    ['bytes 4097-4097/65536', 4097],
    ['bytes 60536-65535/*', 60_536],
  ])('with Content-Range %s writes where its first byte says', async (contentRange, offset) => {
    const { id, content, path } = await image();
    const headers: Record<string, string> = contentRange === undefined ? {} : { 'content-range': contentRange };
    const answer = await on(id, { method: 'PUT', headers, body });
    expect([answer.status, answer.headers['content-length'], answer.text]).toEqual([200, '0', '']);
    expect(answer.headers.connection).not.toBe('keep-alive');
    body.copy(content, offset);
    expect((await readFile(path)).equals(content)).toBe(true);
  });

  test.each([
    '*/65536',
    'bytes */65536',
    'bytes 0-9',
    'bytes 5-4/10',
    'bytes 0-9/5',
    'bytes=0-9/10',
    'bytes -1-4/10',
    'items 0-1/2',
    '',
  ])('with Content-Range "%s" is 400, and the connection ends because the body was not read', async (contentRange) => {
    const { id, content, path } = await image();
    const answer = await on(id, { method: 'PUT', headers: { 'content-range': contentRange }, body });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain(`Invalid Content-Range '${contentRange}'`);
    expect(answer.headers.connection).toBe('close');
    expect((await readFile(path)).equals(content)).toBe(true);
  });

  test('texts of a Content-Range that contradicts itself', async () => {
    const { id } = await image();
    const put = (contentRange: string) => on(id, { method: 'PUT', headers: { 'content-range': contentRange }, body });
    expectRefusal(await put('bytes 5-4/10'), 400, "Invalid Content-Range 'bytes 5-4/10', first > last");
    expectRefusal(await put('bytes 0-9/5'), 400, "Invalid Content-Range 'bytes 0-9/5', last >= complete");
  });

  test('beyond the ticket is 416 with its size', async () => {
    const { id, content, path } = await image();
    const answer = await on(id, { method: 'PUT', headers: { 'content-range': 'bytes 60537-*/*' }, body });
    expectRefusal(answer, 416, 'Requested range out of allowed range');
    expect(answer.headers['content-range']).toBe('bytes */65536');
    expect(answer.headers.connection).toBe('close');
    expect((await readFile(path)).equals(content)).toBe(true);
  });

  test('a file shorter than its ticket grows by what is written', async () => {
    const { id, path } = await image(Buffer.from('abc'), { size: SIZE });
    expect((await on(id, { method: 'PUT', headers: { 'content-range': 'bytes 10-*/*' }, body: 'xyz' })).status).toBe(
      200,
    );
    expect((await readFile(path)).toString('latin1')).toBe('abc\0\0\0\0\0\0\0xyz');
    expect((await on(id)).body.length).toBe(13);
  });

  test('flush must be y or n', async () => {
    const { id } = await image();
    for (const flush of ['y', 'n'])
      expect((await on(`${id}?flush=${flush}`, { method: 'PUT', body })).status).toBe(200);
    expectRefusal(
      await on(`${id}?flush=maybe`, { method: 'PUT', body }),
      400,
      "Unsupported value 'maybe' for 'flush', expecting one of ['n', 'y']",
    );
  });

  test('an empty body only flushes, also at the very end', async () => {
    const { id } = await image();
    expect((await on(id, { method: 'PUT', body: '' })).status).toBe(200);
    expect((await on(id, { method: 'PUT', body: '', headers: { 'content-range': 'bytes 65536-*/*' } })).status).toBe(
      200,
    );
    expect((await on(id, { method: 'PUT', body: '', headers: { 'content-range': 'bytes 65537-*/*' } })).status).toBe(
      416,
    );
  });

  test('close=y ends the connection, and nothing is open when the answer comes', async () => {
    const { id } = await image();
    const answer = await on(`${id}?close=y`, { method: 'PUT', body });
    expect([answer.status, answer.headers.connection]).toEqual([200, 'close']);
    expect(asJson(await stage.call({ to: stage.control, path: `/tickets/${id}` })).connections).toBe(0);
  });

  test('a ticket to read forbids it', async () => {
    const { id } = await image(undefined, { ops: ['read'], transfer_id: 'T1' });
    const answer = await on(id, { method: 'PUT', body });
    expectRefusal(answer, 403, denied('Transfer=T1 forbids write'));
    expect(answer.headers.connection).toBe('close');
  });

  test('of many MiB at an odd place, on every listener', async () => {
    const large = randomBytes(5 * 1024 * 1024 + 777);
    for (const to of [stage.http, stage.https, stage.unix]) {
      const { id, path, content } = await image(Buffer.alloc(8 * 1024 * 1024, 7));
      const headers = { 'content-range': 'bytes 12345-*/*' };
      expect((await stage.call({ to, method: 'PUT', path: `/images/${id}`, headers, body: large })).status).toBe(200);
      large.copy(content, 12_345);
      expect((await readFile(path)).equals(content)).toBe(true);
      expect((await stage.call({ to, path: `/images/${id}` })).body.equals(content)).toBe(true);
    }
    expect(stage.slabs.inUse).toBe(0);
  });
});

describe('PATCH', () => {
  const patch = (id: string, body: string) => on(id, { method: 'PATCH', body });

  test.each([
    ['{"op": "zero", "offset": 4096, "size": 8192, "flush": true}', 4096, 8192],
    ['{"op": "zero", "size": 10, "unknown": 1}', 0, 10],
    ['{"op": "zero", "offset": 3, "size": 5000}', 3, 5000],
    ['{"op": "zero", "offset": 65536, "size": 0}', 0, 0],
    ['{"op": "zero", "offset": false, "size": true}', 0, 1],
  ])('%s zeroes', async (message, offset, length) => {
    const { id, content, path } = await image();
    const answer = await patch(id, message);
    expect([answer.status, answer.text, answer.headers['content-length']]).toEqual([200, '', '0']);
    content.fill(0, offset, offset + length);
    expect((await readFile(path)).equals(content)).toBe(true);
  });

  test('zero behind the end of the file makes it longer', async () => {
    const { id, path } = await image(Buffer.from('abc'), { size: SIZE });
    expect((await patch(id, '{"op": "zero", "size": 100}')).status).toBe(200);
    expect((await readFile(path)).equals(Buffer.alloc(100))).toBe(true);
  });

  test('flush', async () => {
    const { id } = await image();
    expect((await patch(id, '{"op": "flush"}')).status).toBe(200);
  });

  test.each([
    ['', 'Invalid JSON message Expecting value: line 1 column 1 (char 0)'],
    ['{}', 'Missing required value for op'],
    ['{"op": "frob"}', "Unsupported value 'frob' for 'op', expecting one of ['flush', 'zero']"],
    ['{"op": "zero"}', "Missing required value for 'size'"],
    ['{"op": "zero", "size": "1"}', "Integer required '1'"],
    ['{"op": "zero", "size": 1.0}', 'Integer required 1.0'],
    ['{"op": "zero", "size": null}', 'Integer required None'],
    ['{"op": "zero", "size": -1}', 'Invalid value -1 < 0'],
    ['{"op": "zero", "size": 1, "offset": -2}', 'Invalid value -2 < 0'],
    ['{"op": "zero", "size": 1, "flush": 1}', 'Boolean required 1'],
    // The original fails with 500.
    ['[1, 2]', 'Invalid JSON message expecting a dict'],
  ])('%s is 400', async (message, text) => {
    const { id } = await image();
    expectRefusal(await patch(id, message), 400, text);
  });

  test('what is not JSON is 400; beyond the ticket 416; for a reader 403', async () => {
    const { id } = await image();
    expect((await patch(id, '{"op"')).text).toMatch(/^Invalid JSON message /);
    expect((await patch(id, '\xff')).status).toBe(400);
    const beyond = await patch(id, '{"op": "zero", "offset": 1, "size": 65536}');
    expectRefusal(beyond, 416, 'Requested range out of allowed range');
    expect(beyond.headers['content-range']).toBe('bytes */65536');
    const reader = await image(undefined, { ops: ['read'], transfer_id: 'T2' });
    expectRefusal(await patch(reader.id, '{"op": "flush"}'), 403, denied('Transfer=T2 forbids write'));
    expectRefusal(await patch('', '{"op": "flush"}'), 400, 'Ticket id is required');
    const chunked = await on(id, { method: 'PATCH', headers: { 'transfer-encoding': 'chunked' } });
    expect([chunked.status, chunked.headers.connection]).toEqual([400, 'close']);
  });
});

describe('extents', () => {
  test('tells holes from data, and a part of them when asked', async () => {
    const { id, path } = await image(Buffer.alloc(0), { size: 4 * 1024 * 1024, ops: ['read'] });
    await writeFile(path, randomBytes(1024 * 1024));
    await truncate(path, 4 * 1024 * 1024);
    const MiB = 1024 * 1024;
    const answer = await on(`${id}/extents`);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(asJson(answer)).toEqual([
      { start: 0, length: MiB, zero: false, hole: false },
      { start: MiB, length: 3 * MiB, zero: true, hole: true },
    ]);
    expect(asJson(await on(`${id}/extents?context=zero&start=${MiB / 2}&length=${MiB}`))).toEqual([
      { start: MiB / 2, length: MiB / 2, zero: false, hole: false },
      { start: MiB, length: MiB / 2, zero: true, hole: true },
    ]);
    expect(asJson(await on(`${id}/extents?start=${8 * MiB}`))).toEqual([]);
  });

  test('refusals', async () => {
    const { id } = await image();
    expectRefusal(await on(`${id}/extents?context=dirty`), 404, 'Ticket does not support dirty extents');
    const dirty = await image(undefined, { dirty: true });
    expect((await on(`${dirty.id}/extents?context=dirty`)).status).toBe(404);
    expectRefusal(
      await on(`${id}/extents?context=other`),
      400,
      "Unsupported value 'other' for 'context', expecting one of ['dirty', 'zero']",
    );
    expectRefusal(await on('nobody/extents'), 403, denied('No such ticket nobody'));
    expectRefusal(
      await on(`${id}/extents`, { method: 'PUT', body: '' }),
      405,
      `Method 'PUT' not defined for '/images/${id}/extents'`,
    );
    expectRefusal(await on('/extents'), 400, 'Ticket id is required');
  });

  test('a list too long to be kept comes whole all the same', async () => {
    const size = 40 * 1024 * 1024;
    const { id, path } = await image(Buffer.alloc(0), { size });
    const { open } = await import('node:fs/promises');
    const file = await open(path, 'r+');
    for (let at = 0; at < size; at += 8192) await file.write(Buffer.from('x'), 0, 1, at);
    await file.truncate(size);
    await file.close();
    const list = asJson(await on(`${id}/extents`));
    expect(list.length).toBeGreaterThan(5000);
    let at = 0;
    for (const { start, length } of list) {
      expect(start).toBe(at);
      at += length;
    }
    expect(at).toBe(size);
  });
});

describe('checksum', () => {
  const MiB = 1024 * 1024;
  test.each([
    ['nothing', Buffer.alloc(0), '0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8'],
    ['"abc"', Buffer.from('abc'), 'f6674caaed0b83eae0ae556b6c7d45a12463413a4822152989a0c78c9428f4f3'],
    ['1 MiB of zeros', Buffer.alloc(MiB), '17836e1ad3e6b310afd84ca98acc7db488700832a2ba565d060ae2ef49b0e8f3'],
    ['4 MiB of zeros', Buffer.alloc(4 * MiB), '452c15acb24a13d389311055aa1090397752d5c419dd7842600b0db09770b66c'],
    [
      '8 MiB and 1 of "a"',
      Buffer.alloc(8 * MiB + 1, 'a'),
      '14f1814cefb7550dce95a5333460b7981abd437ad11e06043b898b8bb1bef41d',
    ],
  ])('of %s', async (_, content, checksum) => {
    const { id } = await image(content, { ops: ['read'] });
    expect(asJson(await on(`${id}/checksum`))).toEqual({ algorithm: 'blake2b', block_size: 4 * MiB, checksum });
    const ticket = asJson(await stage.call({ to: stage.control, path: `/tickets/${id}` }));
    expect(ticket.transferred).toBe(content.length);
  });

  test('of a part is that of its bytes alone; what lies behind the end does not count', async () => {
    const content = randomBytes(5 * MiB + 77);
    content.fill(0, MiB, 3 * MiB);
    const { id } = await image(content, { ops: ['read'] });
    const of = async (query: string) => asJson(await on(`${id}/checksum?algorithm=sha256&block_size=${MiB}${query}`));
    const expected = (bytes: Buffer) => {
      const outer = createHash('sha256');
      for (let at = 0; at < bytes.length; at += MiB) {
        outer.update(
          createHash('sha256')
            .update(bytes.subarray(at, at + MiB))
            .digest(),
        );
      }
      return { algorithm: 'sha256', block_size: MiB, checksum: outer.digest('hex') };
    };
    expect(await of('')).toEqual(expected(content));
    expect(await of(`&start=${MiB}&length=${3 * MiB}`)).toEqual(expected(content.subarray(MiB, 4 * MiB)));
    expect(await of(`&start=${4 * MiB}`)).toEqual(expected(content.subarray(4 * MiB)));
    expect(await of(`&start=12345&length=${2 * MiB}`)).toEqual(expected(content.subarray(12_345, 12_345 + 2 * MiB)));
    expect(await of(`&start=${9 * MiB}`)).toEqual(expected(Buffer.alloc(0)));
    expect((await on(`${id}/checksum?start=-1`)).status).toBe(400);
  });

  test('refusals', async () => {
    const { id } = await image();
    expect((await on(`${id}/checksum?algorithm=crc32`)).text).toMatch(
      /^Unsupported value 'crc32' for 'algorithm', expecting one of \['blake2b', 'blake2s', .*'sm3'\]\n$/,
    );
    expectRefusal(await on(`${id}/checksum?block_size=x`), 400, "Invalid block size: 'x'");
    expectRefusal(await on(`${id}/checksum?block_size=4096`), 400, 'Block size out of allowed range: 1048576-16777216');
    expectRefusal(await on(`${id}/checksum?block_size=1048577`), 400, 'Block size is not aligned to 4096');
    expect((await on('nobody/checksum')).status).toBe(403);
    expectRefusal(
      await on(`${id}/checksum`, { method: 'POST', body: '' }),
      405,
      `Method 'POST' not defined for '/images/${id}/checksum'`,
    );
  });

  test('the list of algorithms needs no ticket, and each works', async () => {
    const { algorithms } = asJson(await on('nobody/checksum/algorithms'));
    expect(algorithms).toHaveLength(19);
    expect(algorithms).toEqual([...algorithms].sort());
    const { id } = await image(Buffer.from('abc'));
    for (const algorithm of algorithms) {
      expect(asJson(await on(`${id}/checksum?algorithm=${algorithm}`)).checksum).toMatch(/^[0-9a-f]{32,128}$/);
    }
  });
});

describe('paths and methods', () => {
  test('info', async () => {
    const answer = await stage.call({ to: stage.http, path: '/info/' });
    expect(asJson(answer).version).toBe('2.5.3');
    expectRefusal(await stage.call({ to: stage.http, path: '/info' }), 404, "No handler for '/info'");
    expectRefusal(await stage.call({ to: stage.unix, path: '/info/' }), 404, "No handler for '/info/'");
    expectRefusal(await stage.call({ to: stage.http, path: '/' }), 404, "No handler for '/'");
    expectRefusal(await stage.call({ to: stage.http, path: '/tickets/x' }), 404, "No handler for '/tickets/x'");
  });

  test.each(['POST', 'DELETE'])('%s of an image is 405', async (method) => {
    expectRefusal(await on('x', { method, body: '' }), 405, `Method '${method}' not defined for '/images/x'`);
  });

  test('a method that the original does not know is 405', async () => {
    expectRefusal(await on('x', { method: 'PROPFIND' }), 405, "Invalid method 'PROPFIND'");
  });

  test('ids are percent-decoded and may have slashes', async () => {
    const { path, content } = await image();
    await stage.ticket({ uuid: 'a b/ü', url: `file://${path}`, ops: ['read'] });
    expect((await on('a%20b/%C3%BC')).body.equals(content)).toBe(true);
    expect((await on('a%20b/%C3%BC/extents')).status).toBe(200);
  });
});

describe('where files may lie', () => {
  test('outside of the roots no ticket is taken, whatever the way', async () => {
    for (const url of [
      'file:///etc/passwd',
      `file://${stage.images}/../../../etc/passwd`,
      `file://${stage.images}-not`,
    ]) {
      await expect(stage.ticket({ url })).rejects.toThrow(
        /400 Invalid ticket: Invalid value for 'url'.*imageio\.roots/s,
      );
    }
  });

  test('a link that leads out is not followed, one that stays inside is', async () => {
    const { path, content } = await image();
    await mkdir(join(stage.images, 'links'), { recursive: true });
    const [inside, outside] = [join(stage.images, 'links', 'inside'), join(stage.images, 'links', 'outside')];
    await symlink(path, inside);
    await writeFile(join(stage.folder, 'secret'), 'secret');
    await symlink(join(stage.folder, 'secret'), outside);
    const ok = await stage.ticket({ url: `file://${inside}`, ops: ['read'] });
    expect((await on(ok)).body.equals(content)).toBe(true);
    const bad = await stage.ticket({ url: `file://${outside}`, ops: ['read'] });
    expectRefusal(await on(bad), 500, 'Server failed to perform the request, check logs');
    expectRefusal(
      await on(await stage.ticket({ url: `file://${stage.images}`, ops: ['read'] })),
      500,
      'Server failed to perform the request, check logs',
    );
  });
});
