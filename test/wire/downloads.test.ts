import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ExtentList, ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import { testWith } from '../needs.ts';
import { Caller, leavesOf, MiB, nextUploadWorks, sha256, treeSha256 } from './caller.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;
let image: ImageResource;
/** Data, a hole of 20 MiB, data. */
let bytes: Buffer;
let path: string;

beforeAll(async () => {
  serving = await startServing();
  api = new Caller(serving.api, serving.token);
  const [head, tail] = [randomBytes(3 * MiB + 100), randomBytes(2 * MiB + 7)];
  const hole = 20 * MiB;
  bytes = Buffer.concat([head, Buffer.alloc(hole), tail]);
  const upload = await api.begin({
    name: 'read "me" größe.img',
    size: bytes.length,
    dataSize: head.length + tail.length,
  });
  await api.put(upload.id, 0, head);
  await api.put(upload.id, head.length + hole, tail);
  await api.zeros(upload.id, { offset: head.length, length: hole });
  image = (await api.finish(upload.id)).image;
  path = `/images/${image.id}/data`;
});
afterAll(async () => {
  await using _ended = serving;
  await nextUploadWorks(api);
});

const get = (headers: Readonly<Record<string, string>> = {}) => api.call('GET', path, { headers });

test('the whole: 200 with length, ETag, ranges, and holes as zeros', async () => {
  const answer = await get();
  expect(answer.status).toBe(200);
  expect(answer.bytes.equals(bytes)).toBe(true);
  expect(Object.fromEntries(answer.headers)).toMatchObject({
    'content-length': String(bytes.length),
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    etag: expect.stringMatching(/^"[0-9a-f]{40}"$/),
    'hawser-tree-digest': treeSha256(bytes),
  });
});

test('both listeners give the same bytes', async () => {
  const access = await api.ok<{ url: string; token: string }>('GET', `/images/${image.id}/access`);
  expect(access.url.startsWith(serving.data)).toBe(true);
  const answer = await api.call('GET', `${access.url}/data`, { token: access.token });
  expect(answer.bytes.equals(bytes)).toBe(true);
  const part = await api.call('GET', `${access.url}/data`, { token: access.token, headers: { range: 'bytes=10-19' } });
  expect(part.status).toBe(206);
  expect(part.bytes.equals(bytes.subarray(10, 20))).toBe(true);
});

const end = () => bytes.length;
test.each([
  ['bytes=0-0', () => [0, 1]],
  ['bytes=0-1048575', () => [0, MiB]],
  ['bytes=1048575-1048576', () => [MiB - 1, MiB + 1]],
  ['bytes=3145000-25000000', () => [3145000, 25000001]],
  ['bytes=5000000-', () => [5000000, end()]],
  ['bytes=-1', () => [end() - 1, end()]],
  ['bytes=-2097160', () => [end() - 2097160, end()]],
  ['bytes=-99999999999', () => [0, end()]],
  ['bytes=26000000-99999999999', () => [26000000, end()]],
])('%s is answered with exactly these bytes', async (range, bounds) => {
  const [from = 0, to = 0] = bounds();
  const answer = await get({ range });
  expect(answer.status).toBe(206);
  expect(answer.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/${bytes.length}`);
  expect(answer.headers.get('content-length')).toBe(String(to - from));
  expect(answer.bytes.equals(bytes.subarray(from, to))).toBe(true);
});

test.each([['bytes=0-1,5-6'], ['lines=0-5'], ['bytes=9-3'], ['bytes=-'], ['bytes=a-b'], ['bytes']])(
  '%s is answered with the whole (RFC 9110 14.2)',
  async (range) => {
    const answer = await get({ range });
    expect(answer.status).toBe(200);
    expect(answer.bytes.length).toBe(bytes.length);
  },
);

test('a range behind the end, and the last zero bytes, are 416 with the size', async () => {
  for (const range of [`bytes=${bytes.length}-`, `bytes=${bytes.length + 5}-${bytes.length + 9}`, 'bytes=-0']) {
    const answer = await get({ range });
    expect(answer.status).toBe(416);
    expect(answer.headers.get('content-range')).toBe(`bytes */${bytes.length}`);
    expect(answer.json).toMatchObject({ code: 'out-of-range' });
  }
});

test('every range of an image of 0 bytes', async () => {
  const empty = await api.makeImage('empty', Buffer.alloc(0));
  expect((await api.call('GET', `/images/${empty.id}/data`)).status).toBe(200);
  for (const range of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) {
    expect((await api.call('GET', `/images/${empty.id}/data`, { headers: { range } })).status).toBe(416);
  }
});

test('HEAD says what GET would, without the bytes', async () => {
  const head = await api.call('HEAD', path, { headers: { range: 'bytes=5-9' } });
  const part = await get({ range: 'bytes=5-9' });
  expect(head.status).toBe(206);
  expect(head.bytes.length).toBe(0);
  for (const name of ['content-length', 'content-range', 'etag', 'accept-ranges', 'hawser-tree-digest']) {
    expect(head.headers.get(name)).toBe(part.headers.get(name));
  }
  expect((await api.call('HEAD', path)).headers.get('content-length')).toBe(String(bytes.length));
});

test('If-Range: with this ETag the part, with another the whole; If-None-Match: 304', async () => {
  const etag = (await api.call('HEAD', path)).headers.get('etag') ?? '';
  const range = 'bytes=100-199';
  expect((await get({ range, 'if-range': etag })).status).toBe(206);
  for (const other of ['"other"', `W/${etag}`, 'Wed, 21 Oct 2015 07:28:00 GMT']) {
    const answer = await get({ range, 'if-range': other });
    expect(answer.status).toBe(200);
    expect(answer.bytes.length).toBe(bytes.length);
  }
  for (const tag of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const answer = await get({ 'if-none-match': tag });
    expect(answer.status).toBe(304);
    expect(answer.bytes.length).toBe(0);
    expect(answer.headers.get('etag')).toBe(etag);
  }
  expect((await get({ 'if-none-match': '"x"' })).status).toBe(200);
});

test('the name for the save dialog is in both forms', async () => {
  const answer = await api.call('HEAD', `${path}?filename=${encodeURIComponent('größe "a".img')}`);
  expect(answer.headers.get('content-disposition')).toBe(
    `attachment; filename="gr__e _a_.img"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%22a%22.img`,
  );
});

testWith('curl')('curl -C - goes on where the file ends, and a whole file stays as it is', async () => {
  const file = join(serving.folder, 'resumed');
  const curl = (...args: readonly string[]) =>
    promisify(execFile)('curl', [
      ...[
        '-sS',
        '-f',
        '-H',
        `Authorization: Bearer ${serving.token}`,
        '-o',
        file,
        '-w',
        '%{http_code} %{size_download}',
      ],
      ...args,
      `${serving.api}/api/v1${path}`,
    ]);
  await writeFile(file, bytes);
  await truncate(file, 7_000_001);
  const { stdout } = await curl('-C', '-');
  expect(stdout).toBe(`206 ${bytes.length - 7_000_001}`);
  expect((await readFile(file)).equals(bytes)).toBe(true);
  const range = await curl('-r', '100-199');
  expect(range.stdout).toBe('206 100');
});

test('extents say data and holes without gaps, and leaves have the digest of each block', async () => {
  const list = await api.ok<ExtentList>('GET', `/images/${image.id}/extents`);
  expect(list).toMatchObject({ size: bytes.length, next: null });
  let at = 0;
  let data = 0;
  for (const { offset, length, kind } of list.extents) {
    expect(offset).toBe(at);
    at += length;
    if (kind === 'data') data += length;
    else expect(bytes.subarray(offset, offset + length).every((byte) => byte === 0)).toBe(true);
  }
  expect(at).toBe(bytes.length);
  expect(data).toBeLessThan(6 * MiB);
  const later = await api.ok<ExtentList>('GET', `/images/${image.id}/extents?from=${10 * MiB}`);
  expect(later.extents[0]).toMatchObject({ offset: 10 * MiB, kind: 'hole' });
  const leaves = (await api.call('GET', `/images/${image.id}/leaves`)).bytes;
  expect(leaves.equals(Buffer.concat(leavesOf(bytes)))).toBe(true);
  expect(
    (await api.call('GET', `/images/${image.id}/leaves?first=2&count=3`)).bytes.equals(leaves.subarray(64, 160)),
  ).toBe(true);
});

test('after POST digest the bytes come with Repr-Digest', async () => {
  expect((await api.call('HEAD', path)).headers.get('repr-digest')).toBeNull();
  const task = await api.ok<TaskResource>('POST', `/images/${image.id}/digest`, { body: { algorithm: 'sha256' } });
  expect(await api.taskIs(task.id, 'SUCCESS', 'FAILURE')).toMatchObject({ state: 'SUCCESS', kind: 'digest' });
  expect((await api.image(image.id)).digests).toContain(`sha256:${sha256(bytes)}`);
  const digest = Buffer.from(sha256(bytes), 'hex').toString('base64');
  expect((await get({ range: 'bytes=0-5' })).headers.get('repr-digest')).toBe(`sha-256=:${digest}:`);
});

test('40 downloads at once, whole and in parts, are all right', async () => {
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const from = i * 500_000;
      const answer = i % 4 === 0 ? await get() : await get({ range: `bytes=${from}-${from + 3_000_000}` });
      const wanted = i % 4 === 0 ? bytes : bytes.subarray(from, from + 3_000_001);
      expect(answer.bytes.equals(wanted)).toBe(true);
    }),
  );
});

test('verify finds a byte that was flipped in the store, names its block, and image and copy fail', async () => {
  const content = randomBytes(5 * MiB + 10);
  const victim = await api.makeImage('flipped', content);
  const good = await api.ok<TaskResource>('POST', `/images/${victim.id}/verify`);
  expect(await api.taskIs(good.id, 'SUCCESS', 'FAILURE')).toMatchObject({ state: 'SUCCESS', result: { damaged: [] } });
  const etag = (await api.call('HEAD', `/images/${victim.id}/data`)).headers.get('etag');

  const at = 3 * MiB + 12345;
  await using file = await open(await storeFile(victim), 'r+');
  await file.write(Buffer.from([(content[at] ?? 0) ^ 0x40]), 0, 1, at);
  await file.sync();
  // Touched behind our back: another ETag, so that nobody goes on with a part of the old bytes.
  expect((await api.call('HEAD', `/images/${victim.id}/data`)).headers.get('etag')).not.toBe(etag);

  const bad = await api.ok<TaskResource>('POST', `/images/${victim.id}/verify`);
  const task = await api.taskIs(bad.id, 'SUCCESS', 'FAILURE');
  expect(task).toMatchObject({
    state: 'FAILURE',
    cause: 'corrupt',
    result: { damaged: [{ offset: 3 * MiB, length: MiB }] },
    status: expect.stringContaining(String(3 * MiB)),
  });
  const now = await api.image(victim.id);
  expect(now).toMatchObject({ state: 'failed', copies: [{ state: 'failed' }] });
  expect((await api.refused('GET', `/images/${victim.id}/data`)).code).toBe('conflict');
});

/** The only file of the Store whose name has the key of the Image's Copy. */
async function storeFile({ copies }: ImageResource): Promise<string> {
  const { stdout } = await promisify(execFile)('find', [
    join(serving.dataDir, 'stores'),
    ...['-type', 'f', '-name', `*${copies[0]?.id}*`],
  ]);
  const [file] = stdout.trim().split('\n');
  expect(file).toBeTruthy();
  return file ?? '';
}
