import { randomUUID } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, type Stage, startStage } from './imageio-stage.ts';

let stage: Stage;
let url: string;
beforeAll(async () => {
  stage = await startStage();
  url = `file://${join(stage.images, 'one.raw')}`;
  await writeFile(join(stage.images, 'one.raw'), Buffer.alloc(65_536, 1));
});
afterAll(() => stage[Symbol.asyncDispose]());

const control = (method: string, path: string, body?: string) =>
  stage.call({ to: stage.control, method, path, ...(body === undefined ? {} : { body }) });
const put = (ticket: unknown, path = '/tickets/x') => control('PUT', path, JSON.stringify(ticket));
const info = async (id: string) => JSON.parse((await control('GET', `/tickets/${id}`)).text);
const plain = (id: string = randomUUID()) => ({ uuid: id, size: 65_536, url, timeout: 300, ops: ['write'] });
const told = ({ status, text }: Answer) => ({ status, text });

test('the socket is for its owner and group', async () => {
  expect((await stat(stage.control)).mode & 0o777).toBe(0o660);
  expect((await stat(stage.unix)).mode & 0o777).toBe(0o666);
});

describe('PUT', () => {
  test('as the engine sends it, and what GET says of it', async () => {
    const id = randomUUID();
    const ticket = {
      uuid: id,
      timeout: 300,
      inactivity_timeout: 60,
      size: 65_536,
      url,
      ops: ['read'],
      sparse: true,
      transfer_id: 'transfer-1',
      dirty: false,
      filename: 'disk.qcow2',
    };
    const answer = await put(ticket);
    expect(told(answer)).toEqual({ status: 200, text: '' });
    expect(answer.headers['content-length']).toBe('0');
    const said = await control('GET', `/tickets/${id}`);
    expect(said.headers['content-type']).toBe('application/json');
    const { expires, expires_at, ...rest } = JSON.parse(said.text);
    expect(rest).toEqual({
      ...ticket,
      active: false,
      canceled: false,
      connections: 0,
      idle_time: 0,
      transferred: 0,
    });
    expect(Math.abs(expires - (Number(process.hrtime.bigint() / 1_000_000_000n) + 300))).toBeLessThan(30);
    expect(Math.abs(new Date(expires_at).getTime() - Date.now() - 300_000)).toBeLessThan(30_000);
    expect(Object.keys(JSON.parse(said.text))).toEqual([
      'active',
      'canceled',
      'connections',
      'expires',
      'idle_time',
      'inactivity_timeout',
      'ops',
      'size',
      'sparse',
      'dirty',
      'timeout',
      'url',
      'uuid',
      'transfer_id',
      'filename',
      'transferred',
      'expires_at',
    ]);
  });

  test('the id of the body counts, that of the path must only be there', async () => {
    const ticket = plain();
    expect((await put(ticket, '/tickets/another')).status).toBe(200);
    expect((await info(ticket.uuid)).uuid).toBe(ticket.uuid);
    expect((await control('GET', '/tickets/another')).status).toBe(404);
    expect(told(await put(ticket, '/tickets/'))).toEqual({ status: 400, text: 'Ticket id is required\n' });
  });

  test('defaults, and a made up transfer id', async () => {
    const ticket = plain('0123456789-0123456789');
    await put(ticket);
    expect(await info(ticket.uuid)).toMatchObject({
      inactivity_timeout: 60,
      sparse: false,
      dirty: false,
      transfer_id: '(ticket/0123456789-0123456)',
    });
    expect(await info(ticket.uuid)).not.toHaveProperty('filename');
  });

  test.each([
    ['more than is known', { frob: { a: [1] } }],
    ['a negative size', { size: -1 }],
    ['a boolean for a number', { size: true }],
    ['a negative timeout', { timeout: -10 }],
    ['no operations', { ops: [] }],
    ['operations that are none', { ops: ['frob', 3, null] }],
  ])('takes %s', async (_, values) => {
    const id = randomUUID();
    expect(told(await put({ ...plain(id), ...values }))).toEqual({ status: 200, text: '' });
    expect((await info(id)).uuid).toBe(id);
  });

  test('numbers of any size come back as they were', async () => {
    const text = `{"uuid": "big", "size": 18446744073709551616, "url": "${url}", "timeout": 99999999999999999999, "ops": ["write"]}`;
    expect((await control('PUT', '/tickets/big', text)).status).toBe(200);
    const said = (await control('GET', '/tickets/big')).text;
    expect(said).toContain('"size": 18446744073709551616, ');
    expect(said).toContain('"timeout": 99999999999999999999, ');
  });

  const { uuid: _uuid, ...noUuid } = plain();
  const { size: _size, ...noSize } = plain();
  const { url: _url, ...noUrl } = plain();
  const { ops: _ops, ...noOps } = plain();
  const { timeout: _timeout, ...noTimeout } = plain();
  test.each([
    [noUuid, 'Required ticket parameter is missing: uuid'],
    [noSize, 'Required ticket parameter is missing: size'],
    [noUrl, 'Required ticket parameter is missing: url'],
    [noOps, 'Required ticket parameter is missing: ops'],
    [noTimeout, 'Required ticket parameter is missing: timeout'],
    [{ ...plain(), uuid: 1 }, "Invalid value for 'uuid': 1: expecting a <class 'str'> value"],
    [{ ...plain(), size: '1' }, "Invalid value for 'size': '1': expecting a <class 'int'> value"],
    [{ ...plain(), size: 1.5 }, "Invalid value for 'size': 1.5: expecting a <class 'int'> value"],
    [{ ...plain(), size: null }, "Invalid value for 'size': None: expecting a <class 'int'> value"],
    [{ ...plain(), ops: 'read' }, "Invalid value for 'ops': 'read': expecting a <class 'list'> value"],
    [{ ...plain(), timeout: [1, 'a'] }, "Invalid value for 'timeout': [1, 'a']: expecting a <class 'int'> value"],
    [
      { ...plain(), inactivity_timeout: {} },
      "Invalid value for 'inactivity_timeout': {}: expecting a <class 'int'> value",
    ],
    [{ ...plain(), sparse: 1 }, "Invalid value for 'sparse': 1: expecting a <class 'bool'> value"],
    [{ ...plain(), dirty: 'True' }, "Invalid value for 'dirty': 'True': expecting a <class 'bool'> value"],
    [{ ...plain(), filename: true }, "Invalid value for 'filename': True: expecting a <class 'str'> value"],
    [{ ...plain(), transfer_id: 1 }, "Invalid value for 'transfer_id': 1: expecting a <class 'str'> value"],
    [{ ...plain(), url: 'rbd:pool/image' }, "Invalid value for 'url': 'rbd:pool/image': Unsupported url scheme: rbd"],
    [{ ...plain(), url: 'image' }, "Invalid value for 'url': 'image': Unsupported url scheme: "],
    [[1, 2], 'Invalid ticket: [1, 2], expecting a dict'],
  ])('%j is 400', async (ticket, text) => {
    const sent = 'url' in ticket && ticket.url === undefined ? { ...ticket, url } : ticket;
    expect(told(await put(sent))).toEqual({ status: 400, text: `Invalid ticket: ${text}\n` });
  });

  test('what is not JSON is 400, and so is nothing', async () => {
    expect((await control('PUT', '/tickets/x', '{"uuid"')).text).toMatch(/^Ticket is not in a json format: /);
    expect((await control('PUT', '/tickets/x')).text).toBe(
      'Ticket is not in a json format: Expecting value: line 1 column 1 (char 0)\n',
    );
    expect((await control('PUT', '/tickets/x', 'x'.repeat(2_000_000))).status).toBe(413);
  });

  test.each([
    'nbd:unix:/run/x.sock',
    'nbd:unix:/run/x.sock:exportname=sda',
    'nbd:host:10809:exportname=a:b',
    'nbd://host/sda',
  ])('a URL %s is taken', async (nbd) => {
    expect((await put({ ...plain(), url: nbd })).status).toBe(200);
  });

  test.each(['nbd:', 'nbd:unix:relative', 'nbd:host', 'file:', 'file://x'])('a URL %s is not', async (bad) => {
    expect((await put({ ...plain(), url: bad })).status).toBe(400);
  });

  test('again replaces, and begins anew', async () => {
    const ticket = plain();
    await put(ticket);
    await stage.call({ to: stage.http, method: 'PUT', path: `/images/${ticket.uuid}`, body: 'abc' });
    expect((await info(ticket.uuid)).transferred).toBe(3);
    await put({ ...ticket, ops: ['read'], size: 10 });
    expect(await info(ticket.uuid)).toMatchObject({ transferred: 0, ops: ['read'], size: 10 });
  });
});

describe('GET', () => {
  test('what is not there is 404, no id 400', async () => {
    expect(told(await control('GET', '/tickets/nobody'))).toEqual({ status: 404, text: "No such ticket 'nobody'\n" });
    expect(told(await control('GET', '/tickets/'))).toEqual({ status: 400, text: 'Ticket id is required\n' });
    expect((await control('GET', '/images/x')).status).toBe(404);
    expect((await control('GET', '/profile/')).status).toBe(404);
    expect((await control('POST', '/tickets/x', '')).status).toBe(405);
  });

  test('the list of all, and metrics', async () => {
    const ticket = plain();
    await put(ticket);
    const list = JSON.parse((await control('GET', '/tickets')).text);
    expect(list.map((one: { uuid: string }) => one.uuid)).toContain(ticket.uuid);
    await stage.call({ to: stage.http, method: 'PUT', path: `/images/${ticket.uuid}`, body: 'abc' });
    const metrics = (await control('GET', '/metrics')).text;
    expect(metrics).toMatch(/^hawser_imageio_tickets\{state="idle"\} \d+$/m);
    expect(metrics).toMatch(/^hawser_imageio_bytes_total\{operation="write"\} [1-9]\d*$/m);
    expect(metrics).toMatch(/^hawser_imageio_answers_total\{method="PUT",status="200"\} [1-9]\d*$/m);
  });
});

describe('PATCH', () => {
  test('sets the end, also of an expired one', async () => {
    const ticket = plain();
    await put(ticket);
    expect(told(await control('PATCH', `/tickets/${ticket.uuid}`, '{"timeout": 0}'))).toEqual({
      status: 200,
      text: '',
    });
    const get = () => stage.call({ to: stage.http, path: `/images/${ticket.uuid}` });
    const expired = await get();
    expect(told(expired)).toEqual({
      status: 403,
      text: `You are not allowed to access this resource: Transfer=(ticket/${ticket.uuid.slice(0, 18)}) expired\n`,
    });
    expect(expired.headers.connection).toBe('close');
    expect((await control('PATCH', `/tickets/${ticket.uuid}`, '{"timeout": true}')).status).toBe(200);
    expect((await control('PATCH', `/tickets/${ticket.uuid}`, '{"timeout": 300}')).status).toBe(200);
    expect((await get()).status).toBe(200);
  });

  test.each([
    ['{}', "Missing required value for 'timeout'"],
    ['{"timeout": "1"}', "Integer required '1'"],
    ['{"timeout": -1}', 'Invalid value -1 < 0'],
    ['[]', 'Invalid patch: expecting a dict'],
    ['', 'Invalid patch: Expecting value: line 1 column 1 (char 0)'],
  ])('%s is 400', async (body, text) => {
    expect(told(await control('PATCH', '/tickets/nobody', body))).toEqual({ status: 400, text: `${text}\n` });
  });

  test('of what is not there is 404', async () => {
    expect(told(await control('PATCH', '/tickets/nobody', '{"timeout": 1}'))).toEqual({
      status: 404,
      text: 'No such ticket: nobody\n',
    });
  });
});

describe('DELETE', () => {
  test('removes, and succeeds when there is nothing; vdsm needs the length', async () => {
    const ticket = plain();
    await put(ticket);
    for (let i = 0; i < 2; i++) {
      const answer = await control('DELETE', `/tickets/${ticket.uuid}`);
      expect(told(answer)).toEqual({ status: 204, text: '' });
      expect(answer.headers['content-length']).toBe('0');
    }
    expect((await control('GET', `/tickets/${ticket.uuid}`)).status).toBe(404);
    expect((await stage.call({ to: stage.http, path: `/images/${ticket.uuid}` })).text).toBe(
      `You are not allowed to access this resource: No such ticket ${ticket.uuid}\n`,
    );
  });

  test('without an id removes all of them, and none of our own', async () => {
    await put(plain());
    await stage.tickets.install('our-own-ticket-id', {
      subject: { kind: 'upload', uploadId: randomUUID() },
      ops: ['read'],
      timeoutMs: 60_000,
    });
    expect((await control('GET', '/tickets/our-own-ticket-id')).status).toBe(404);
    expect((await control('DELETE', '/tickets/our-own-ticket-id')).status).toBe(204);
    expect((await control('DELETE', '/tickets/')).status).toBe(204);
    expect(JSON.parse((await control('GET', '/tickets')).text)).toEqual([]);
    expect(stage.tickets.use('our-own-ticket-id', 'read').subject.kind).toBe('upload');
  });
});

test('no id of a ticket is ever logged', async () => {
  const ticket = plain();
  await put(ticket);
  await stage.call({ to: stage.http, method: 'PUT', path: `/images/${ticket.uuid}`, body: 'abc' });
  await stage.call({ to: stage.http, path: `/images/${ticket.uuid}/checksum` });
  await control('PATCH', `/tickets/${ticket.uuid}`, '{"timeout": 100}');
  await control('DELETE', `/tickets/${ticket.uuid}`);
  expect(stage.log.length).toBeGreaterThan(0);
  expect(JSON.stringify(stage.log)).not.toContain(ticket.uuid.slice(0, 18));
});
