import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  array,
  asyncProperty,
  bigInt,
  assert as check,
  constantFrom,
  dictionary,
  jsonValue,
  nat,
  oneof,
  record,
  string,
  uint8Array,
} from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Stage, startStage } from './imageio-stage.ts';
import { RawClient } from './raw-client.ts';

const SIZE = 4096;
let stage: Stage;
let path: string;
const content = randomBytes(SIZE);

beforeAll(async () => {
  stage = await startStage();
  path = join(stage.images, 'fuzz.raw');
  await writeFile(path, content);
  await stage.ticket({ uuid: 'reader', url: `file://${path}`, size: SIZE, ops: ['read'] });
});
afterAll(() => stage[Symbol.asyncDispose]());

/** All that is said to these bytes, once the server has ended the connection after we ended ours. */
async function saysTo(bytes: Uint8Array | string): Promise<string> {
  await using client = await RawClient.open(stage.http);
  client.send(bytes);
  await client.drained();
  client.socket.end();
  await client.closed;
  return client.text;
}

/** It answers as ever, nothing is held, nothing was written. */
async function stillWell(): Promise<void> {
  const whole = await stage.call({ to: stage.http, path: '/images/reader' });
  expect([whole.status, whole.body.equals(content)]).toEqual([200, true]);
  expect((await readFile(path)).equals(content)).toBe(true);
  expect(stage.slabs.inUse).toBe(0);
}

const methods = constantFrom('GET', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'HEAD', 'FOO', '', 'CONNECT', 'TRACE');
const paths = oneof(
  constantFrom(
    '/images/reader',
    '/images/reader/extents',
    '/images/reader/checksum',
    '/images/*',
    '/images/',
    '/info/',
    '*',
    '/',
  ),
  string().map((text) => `/images/${encodeURIComponent(text.toWellFormed())}`),
  string({ unit: 'binary-ascii' }).map((text) => `/${text}`),
  constantFrom(
    '/images/%',
    '/images/%zz%ff',
    '/images/%00',
    '/images/reader?close=y&flush=maybe&context=%',
    '/images/reader/extents?start=-1&length=x',
  ),
);
const values = oneof(
  string({ unit: 'binary-ascii' }),
  constantFrom(
    'bytes=0-',
    'bytes=4096-',
    'bytes=-1',
    'bytes=5-1',
    'bytes 0-*/*',
    'bytes */4096',
    'chunked',
    'gzip, chunked',
    '0',
    '5',
    '-1',
    '1e3',
    '0x10',
    '99999999999999999999',
    'close',
    'keep-alive',
    '100-continue',
    'upgrade',
  ),
);
const names = constantFrom(
  'range',
  'content-range',
  'content-length',
  'transfer-encoding',
  'connection',
  'expect',
  'if-range',
  'origin',
  'upgrade',
  'host',
  'x',
);
const heads = record({
  method: methods,
  path: paths,
  headers: array(record({ name: names, value: values }), { maxLength: 6 }),
  body: string(),
});

test('no head, however odd, crashes, hangs, writes or leaks', async () => {
  await check(
    asyncProperty(heads, async ({ method, path: target, headers, body }) => {
      const lines = headers.map(({ name, value }) => `${name}: ${value.replace(/[\r\n\0]/g, ' ')}\r\n`).join('');
      const said = await saysTo(`${method} ${target} HTTP/1.1\r\nhost: x\r\n${lines}\r\n${body}`);
      if (said !== '') expect(said).toMatch(/^HTTP\/1\.1 [1-5]\d\d /);
      // 500 would be a fault of ours, 503 one of the machine.
      expect(said).not.toMatch(/^HTTP\/1\.1 5/m);
    }),
    { numRuns: 300 },
  );
  await stillWell();
});

test('no bytes, whatever they are', async () => {
  await check(
    asyncProperty(uint8Array({ maxLength: 2000 }), async (bytes) => {
      expect(await saysTo(bytes)).toMatch(/^$|^HTTP\/1\.1 4\d\d /);
    }),
    { numRuns: 100 },
  );
  await stillWell();
});

test('a range is answered with just these bytes, or refused', async () => {
  const position = oneof(nat(5000).map(String), bigInt({ min: 0n, max: 2n ** 70n }).map(String), constantFrom(''));
  await check(
    asyncProperty(position, position, async (first, last) => {
      const answer = await stage.call({
        to: stage.http,
        path: '/images/reader',
        headers: { range: `bytes=${first}-${last}` },
      });
      if (answer.status === 206) {
        const end = last === '' ? SIZE : Number(last) + 1;
        expect(answer.body.equals(content.subarray(Number(first), end))).toBe(true);
        expect(answer.body.length).toBeGreaterThan(0);
        expect(answer.headers['content-range']).toBe(`bytes ${Number(first)}-${end - 1}/${SIZE}`);
      } else {
        expect(answer.status).toBe(416);
        const sensible =
          first !== '' &&
          BigInt(first) < SIZE &&
          (last === '' || (BigInt(last) < SIZE && BigInt(last) >= BigInt(first)));
        expect(sensible).toBe(false);
      }
    }),
    { numRuns: 300 },
  );
});

test('a body lands at its offset and nowhere else, or is refused', async () => {
  const target = join(stage.images, 'fuzz-put.raw');
  const model = Buffer.from(content);
  await writeFile(target, model);
  await stage.ticket({ uuid: 'writer', url: `file://${target}`, size: SIZE });
  await check(
    asyncProperty(nat(5000), uint8Array({ maxLength: 1000 }), async (offset, bytes) => {
      const answer = await stage.call({
        to: stage.http,
        method: 'PUT',
        path: '/images/writer?flush=n',
        headers: { 'content-range': `bytes ${offset}-*/*` },
        body: bytes,
      });
      const fits = offset + bytes.length <= SIZE;
      expect(answer.status).toBe(fits ? 200 : 416);
      if (fits) model.set(bytes, offset);
      expect((await readFile(target)).equals(model)).toBe(true);
    }),
    { numRuns: 100 },
  );
});

test('a ticket is taken or refused with a reason, and what is taken comes back', async () => {
  const odd = oneof(jsonValue(), constantFrom(2 ** 53, -1, 1.5, 'read', ['read'], `file://${path}`, 'nbd:', ''));
  const tickets = oneof(
    jsonValue(),
    record(
      {
        uuid: odd,
        size: odd,
        url: odd,
        ops: odd,
        timeout: odd,
        inactivity_timeout: odd,
        sparse: odd,
        dirty: odd,
        filename: odd,
        transfer_id: odd,
        format: odd,
        bitmap: odd,
      },
      { requiredKeys: [] },
    ),
    dictionary(string(), jsonValue()),
    record({
      uuid: string({ minLength: 1 }),
      size: nat(),
      url: constantFrom(`file://${path}`),
      ops: constantFrom(['read']),
      timeout: nat(),
      filename: string(),
    }),
  );
  await check(
    asyncProperty(tickets, async (ticket) => {
      const body = JSON.stringify(ticket);
      const answer = await stage.call({ to: stage.control, method: 'PUT', path: '/tickets/x', body });
      if (answer.status !== 200) {
        expect([answer.status, answer.text]).toEqual([400, expect.stringMatching(/^Invalid ticket: .+\n$/s)]);
        return;
      }
      const { uuid } = ticket as { uuid: string };
      const id = encodeURIComponent(uuid.toWellFormed());
      if (uuid === '' || uuid !== uuid.toWellFormed() || /\n/.test(uuid)) return;
      const info = await stage.call({ to: stage.control, path: `/tickets/${id}` });
      expect(JSON.parse(info.text).uuid).toBe(uuid);
      expect((await stage.call({ to: stage.http, method: 'HEAD', path: `/images/${id}` })).status).toBeLessThan(500);
      expect((await stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` })).status).toBe(204);
    }),
    { numRuns: 300 },
  );
  await stillWell();
});

test('no message of PATCH', async () => {
  const odd = oneof(jsonValue(), nat(5000), constantFrom('zero', 'flush', true));
  await check(
    asyncProperty(
      oneof(jsonValue(), record({ op: odd, size: odd, offset: odd, flush: odd }, { requiredKeys: [] })),
      async (message) => {
        const answer = await stage.call({
          to: stage.http,
          method: 'PATCH',
          path: '/images/reader',
          body: JSON.stringify(message),
        });
        expect([400, 403]).toContain(answer.status);
      },
    ),
    { numRuns: 200 },
  );
  await stillWell();
});
