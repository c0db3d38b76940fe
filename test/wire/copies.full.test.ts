import { randomBytes } from 'node:crypto';
import { readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ImageResource } from '../../src/contract/api/image.ts';
import type { TaskResource } from '../../src/contract/api/task.ts';
import { Caller, MiB, sha256, treeSha256, until } from './caller.ts';
import { type Serving, startServing } from './serving.ts';

let serving: Serving;
let api: Caller;

beforeAll(async () => {
  serving = await startServing({
    yaml: 'stores:\n  - {name: fast, path: ./fast}\n  - {name: slow, path: ./slow}\ncopies: {recheckSeconds: 1}\ndownloads: {allow: [127.0.0.0/8]}\n',
  });
  api = new Caller(serving.api, serving.token);
});
afterAll(async () => {
  await serving[Symbol.asyncDispose]();
});

async function upload(bytes: Buffer, more: Readonly<Record<string, unknown>> = {}): Promise<ImageResource> {
  const begun = await api.begin({ name: 'disk', size: bytes.length, ...more });
  await api.put(begun.id, 0, bytes);
  return (await api.finish(begun.id)).image;
}

async function image(id: string, isSo: (found: ImageResource) => boolean): Promise<ImageResource> {
  let found = await api.image(id);
  await until(async () => {
    found = await api.image(id);
    return isSo(found);
  });
  return found;
}
const ready = (count: number) => (found: ImageResource) =>
  found.copies.filter((copy) => copy.state === 'ready').length === count;

async function fileOf(store: string): Promise<readonly string[]> {
  const folder = join(serving.folder, store, 'objects');
  return (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function sample(): Buffer {
  const bytes = Buffer.alloc(9 * MiB + 77);
  randomBytes(2 * MiB).copy(bytes, 3 * MiB - 5);
  randomBytes(77).copy(bytes, 9 * MiB);
  return bytes;
}

test('an image that wants two copies gets its second one on the other store; damage is found and repaired', async () => {
  const bytes = sample();
  const made = await upload(bytes, { placement: { minCopies: 2 } });
  const both = await image(made.id, ready(2));
  expect(both.copies.map((copy) => copy.storeName).sort()).toEqual(['fast', 'slow']);
  expect(both.copies.map((copy) => copy.guard)).toEqual([
    expect.stringMatching(/wants 2 copies and 1 would be left/),
    expect.stringMatching(/wants 2 copies and 1 would be left/),
  ]);
  const refused = await api.refused('POST', `/images/${made.id}/cleanup`, { body: { copyIds: [both.copies[0]?.id] } });
  expect(refused).toMatchObject({ code: 'conflict' });
  for (const store of ['fast', 'slow']) expect(await fileOf(store)).toHaveLength(1);

  for (const broken of ['fast', 'slow']) {
    const [file = ''] = await fileOf(broken);
    await writeFile(file, Buffer.from('damage'), { flag: 'r+' });
    const before = both.copies.map((copy) => copy.id);
    const repaired = await image(
      made.id,
      (found) => ready(2)(found) && found.copies.length === 2 && found.copies.some((copy) => !before.includes(copy.id)),
    );
    expect(repaired.state).toBe('ready');
    expect((await api.data(made.id)).equals(bytes)).toBe(true);
    const [whole = ''] = await fileOf(broken);
    expect(whole).not.toBe(file);
    if (broken === 'slow') continue;
    both.copies.splice(0, 2, ...repaired.copies);
  }

  const [gone = ''] = await fileOf('fast');
  await rm(gone);
  await until(async () => (await fileOf('fast')).length === 1);
  await image(made.id, ready(2));
  expect((await api.data(made.id)).equals(bytes)).toBe(true);

  await api.ok('DELETE', `/images/${made.id}`);
  for (const store of ['fast', 'slow']) expect(await fileOf(store)).toEqual([]);
});

test('a last copy that is damaged fails its image, and says so; uploaded again it is ready', async () => {
  const bytes = sample();
  const made = await upload(bytes);
  const [file = ''] = [...(await fileOf('fast')), ...(await fileOf('slow'))];
  await truncate(file, 100);
  const failed = await image(made.id, (found) => found.state === 'failed');
  expect(failed.status).toMatch(/damaged|touched|gone|differ/i);
  const begun = await api.begin({ name: 'disk', size: bytes.length, imageId: made.id });
  await api.put(begun.id, 0, bytes);
  expect((await api.finish(begun.id)).image.state).toBe('ready');
  expect((await api.data(made.id)).equals(bytes)).toBe(true);
  await api.ok('DELETE', `/images/${made.id}`);
});

test('a clone, a copy on demand with a task, and a store that is emptied', async () => {
  const bytes = sample();
  const stores = await api.ok<{ items: { id: string; name: string }[] }>('GET', '/stores');
  const idOf = (name: string) => stores.items.find((store) => store.name === name)?.id;
  const made = await upload(bytes, { storeId: idOf('fast') });
  const clone = await api.ok<ImageResource>('POST', '/images', {
    body: { name: 'clone', origin: { kind: 'clone', imageId: made.id } },
    headers: { 'idempotency-key': 'one' },
  });
  const again = await api.ok<ImageResource>('POST', '/images', {
    body: { name: 'clone', origin: { kind: 'clone', imageId: made.id } },
    headers: { 'idempotency-key': 'one' },
  });
  expect(again.id).toBe(clone.id);
  const cloned = await image(clone.id, (found) => found.state === 'ready');
  expect(cloned).toMatchObject({ origin: 'clone', digests: [`tree-sha256:${treeSha256(bytes)}`] });
  expect((await api.data(clone.id)).equals(bytes)).toBe(true);

  const task = await api.ok<TaskResource>('POST', `/images/${made.id}/copies`, { body: { storeId: idOf('slow') } });
  expect(task.kind).toBe('replicate');
  await image(made.id, ready(2));
  await until(async () => (await api.task(task.id)).state === 'SUCCESS');
  const [etag, other] = [await etagOf(made.id), await etagOf(clone.id)];
  expect(etag).toBe(other);

  await api.ok('PATCH', `/stores/${idOf('fast')}`, { body: { evicting: true } });
  await until(async () => (await fileOf('fast')).length === 0);
  for (const id of [made.id, clone.id]) {
    const moved = await image(id, (found) => ready(1)(found) && found.copies.length === 1);
    expect(moved.copies[0]?.storeName).toBe('slow');
    expect((await api.data(id)).equals(bytes)).toBe(true);
    expect(await etagOf(id)).toBe(etag);
    await api.ok('DELETE', `/images/${id}`);
  }
  await api.ok('PATCH', `/stores/${idOf('fast')}`, { body: { evicting: false } });
});

async function etagOf(id: string): Promise<string | null> {
  return (await api.call('HEAD', `/images/${id}/data`)).headers.get('etag');
}

test('a download from a URL with two copies, its digest checked; lost, it is fetched again if the bytes are the same', async () => {
  let served = sample();
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    if (!path.startsWith('/disk.img')) return void response.writeHead(404).end();
    const etag = `"${sha256(served).slice(0, 16)}"`;
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const headers = { etag, 'accept-ranges': 'bytes' };
    if (range === null)
      return void response.writeHead(200, { ...headers, 'content-length': served.length }).end(served);
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]), served.length - 1)];
    const part = served.subarray(from, to + 1);
    const about = { 'content-range': `bytes ${from}-${to}/${served.length}`, 'content-length': part.length };
    response.writeHead(206, { ...headers, ...about }).end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const base = `http://127.0.0.1:${port}`;
  const create = (url: string, more: Readonly<Record<string, unknown>> = {}) =>
    api.ok<ImageResource>('POST', '/images', {
      body: { name: 'from afar', origin: { kind: 'download', url }, placement: { minCopies: 2 }, ...more },
    });
  const made = await create(`${base}/disk.img?token=hidden`, { digest: `sha256:${sha256(served)}` });
  const both = await image(made.id, ready(2));
  expect(both).toMatchObject({ state: 'ready', origin: 'download', size: served.length });
  expect(both.digests).toContain(`tree-sha256:${treeSha256(served)}`);
  expect((await api.data(made.id)).equals(served)).toBe(true);

  const wrong = await create(`${base}/disk.img`, { digest: `sha256:${'0'.repeat(64)}` });
  const refused = await image(wrong.id, (found) => found.state === 'failed');
  expect(refused.status).toMatch(/sha256:0000/);
  const absent = await create(`${base}/nothing`);
  expect((await image(absent.id, (found) => found.state === 'failed')).status).toMatch(/404/);
  // An address inside is refused at once, and nothing stays behind.
  const body = { name: 'inside', origin: { kind: 'download', url: 'http://169.254.169.254/latest' } };
  const inside = await api.call('POST', '/images', { body });
  expect(inside.json).toMatchObject({ status: 403, code: 'forbidden' });
  expect((await api.ok<{ items: unknown[] }>('GET', '/images?name=inside')).items).toEqual([]);
  for (const id of [wrong.id, absent.id]) await api.ok('DELETE', `/images/${id}`);

  for (const store of ['fast', 'slow']) for (const file of await fileOf(store)) await rm(file);
  const again = await image(made.id, (found) => ready(2)(found) && found.taskId !== both.taskId);
  expect(again.state).toBe('ready');
  expect((await api.data(made.id)).equals(served)).toBe(true);

  served = randomBytes(2 * MiB);
  for (const store of ['fast', 'slow']) for (const file of await fileOf(store)) await rm(file);
  const other = await image(made.id, (found) => found.state === 'failed' && found.taskId !== again.taskId);
  const task = await api.task(other.taskId ?? '');
  expect(task).toMatchObject({ kind: 'download', state: 'FAILURE' });
  await api.ok('DELETE', `/images/${made.id}`);
  server.close();
});
