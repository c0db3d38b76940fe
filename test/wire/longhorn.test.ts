import { createHash, randomBytes } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Caller, MiB } from './caller.ts';
import { type BackingImage, checksumOf, evenCuts, LonghornClient, shuffled, unevenCuts } from './longhorn-client.ts';
import { type Serving, startServing } from './serving.ts';

const env = { HAWSER_LONGHORN_UPLOAD_PORTS: '0', HAWSER_AGENT_LISTEN: '127.0.0.1:0' };

let serving: Serving;
let client: LonghornClient;
let api: Caller;
beforeAll(async () => {
  serving = await startServing({ env });
  client = new LonghornClient(serving.api, serving.token);
  api = new Caller(serving.api, serving.token);
});
afterAll(() => serving?.[Symbol.asyncDispose]());

/** The same numbers each time. */
function chanceOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

async function content(image: Pick<BackingImage, 'uuid'>): Promise<Buffer> {
  return (await api.call('GET', `/images/${image.uuid}/data`)).bytes;
}

function onlyState(image: BackingImage): string | undefined {
  return Object.values(image.diskFileStateMap)[0];
}

/** Since when its only file is in its state, whole seconds. */
function sinceOf(image: BackingImage): number {
  const [file] = Object.values(image.diskFileStatusMap);
  expect(file?.lastStateTransitionTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  return Date.parse(file?.lastStateTransitionTime ?? '');
}

describe('as the original client does', () => {
  test('start, chunks, coalesce, close: the bytes are those of the file', async () => {
    const bytes = randomBytes(5 * MiB + 700);
    const begun = Date.now();
    const made = await client.create('even');
    expect(made.uploadAddress).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(made.status.uploadAddress).toBe(made.uploadAddress);
    await expect.poll(() => Date.now(), { timeout: 5000 }).toBeGreaterThan(sinceOf(made) + 1000); // it is told in seconds
    await client.uploadAll('even', bytes, evenCuts(bytes.length, 2 * MiB));
    const image = await client.show('even');
    expect(onlyState(image)).toBe('ready');
    expect(Object.values(image.diskFileHandlingProgressMap)).toEqual([100]);
    expect(image.uploadAddress).toBe('');
    expect(sinceOf(made)).toBeGreaterThanOrEqual(begun - 1000);
    expect(sinceOf(image)).toBeGreaterThan(sinceOf(made));
    expect((await content(made)).equals(bytes)).toBe(true);
    const sha512 = createHash('sha512').update(bytes).digest('hex');
    await expect.poll(async () => (await client.show('even')).currentChecksum).toBe(sha512);
  });

  test('chunks of 2 to 4 MiB in random order; again what is there is skipped; coalesce and close twice', async () => {
    const bytes = randomBytes(23 * MiB + 77);
    const chance = chanceOf(7);
    const cuts = unevenCuts(bytes.length, [2 * MiB, 4 * MiB], chance);
    const made = await client.create('uneven');
    await client.must(client.action('uneven', 'uploadServerStart', { size: bytes.length }));
    const lane = async (mine: typeof cuts) => {
      for (const cut of mine) {
        const there = await client.send('uneven', cut, bytes.subarray(cut.offset, cut.offset + cut.length));
        expect(there).toBe(false);
        expect(Object.values((await client.show('uneven')).diskFileHandlingProgressMap)[0]).toBeLessThan(100);
      }
    };
    const mixed = shuffled(cuts, chance);
    await Promise.all([0, 1, 2].map((part) => lane(mixed.filter((_, index) => index % 3 === part))));
    await client.must(client.action('uneven', 'uploadServerClose'));
    expect((await client.show('uneven')).uploadAddress).toBe('');
    const { skipped } = await client.uploadAll('uneven', bytes, cuts);
    expect(skipped).toBe(cuts.length);
    const again = { size: bytes.length, count: cuts.length };
    expect((await client.action('uneven', 'chunkCoalesce', again)).status).toBe(200);
    expect((await client.action('uneven', 'uploadServerClose')).status).toBe(200);
    expect((await client.action('uneven', 'chunkCoalesce', { ...again, size: 5 })).status).toBe(422);
    expect((await content(made)).equals(bytes)).toBe(true);
  });

  test('a wrong checksum, a hole, an extra chunk and wrong words are refused with 4xx and plain text', async () => {
    const bytes = randomBytes(3 * MiB);
    const made = await client.create('refused');
    const cuts = evenCuts(bytes.length, 1 * MiB);
    await client.must(client.action('refused', 'uploadServerStart', { size: bytes.length }));
    const first = bytes.subarray(0, 1 * MiB);
    const checksum = checksumOf(first);
    await client.must(client.action('refused', 'chunkPrepare', { index: 0, size: 1 * MiB, checksum }));
    const damaged = await client.upload('refused', 0, checksum, randomBytes(1 * MiB));
    expect(damaged).toMatchObject({ status: 422, type: 'text/plain; charset=utf-8' });
    expect(damaged.text).toContain('chunk 0');
    expect((await client.upload('refused', 1, checksum, first)).status).toBe(409);
    for (const cut of cuts.slice(0, 2))
      await client.send('refused', cut, bytes.subarray(cut.offset, cut.offset + cut.length));
    await client.send('refused', { index: 7, offset: 0, length: 999 }, randomBytes(999));
    const hole = await client.action('refused', 'chunkCoalesce', { size: bytes.length, count: 3 });
    expect(hole.status).toBe(409);
    expect(hole.text).toContain('Missing is chunk 2 of 3');
    expect((await client.action('refused', 'uploadServerStart', { size: 9 * MiB })).status).toBe(422);
    expect((await client.action('refused', 'chunkPrepare', { index: -1, size: 1, checksum })).status).toBe(400);
    expect((await client.action('refused', 'chunkPrepare', { index: 1, size: 1, checksum: 'ab' })).status).toBe(400);
    expect((await client.action('refused', 'uploadServerStart', { size: 'many' })).status).toBe(400);
    expect((await client.action('refused', 'noSuchThing')).status).toBe(400);
    await client.uploadAll('refused', bytes, cuts);
    expect((await content(made)).equals(bytes)).toBe(true);
  });

  test('ten uploads at once, each with a server and a port of its own', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `ten-${index}`);
    const files = names.map(() => randomBytes(6 * MiB + 11));
    const made = await Promise.all(names.map((name) => client.create(name)));
    expect(new Set(made.map(({ uploadAddress }) => uploadAddress)).size).toBe(10);
    await Promise.all(
      names.map((name, index) => {
        const bytes = files[index] ?? Buffer.alloc(0);
        return client.uploadAll(name, bytes, evenCuts(bytes.length, 1 * MiB));
      }),
    );
    for (const [index, image] of made.entries()) {
      expect((await content(image)).equals(files[index] ?? Buffer.alloc(0))).toBe(true);
    }
    for (const name of names) await client.ok('DELETE', `/backingimages/${name}`);
    expect((await client.call('GET', '/backingimages/ten-3')).status).toBe(404);
  });

  test('an image that is not raw, of a size that is no multiple of 512', async () => {
    const made = await client.create('empty');
    await client.uploadAll('empty', Buffer.alloc(0), []);
    expect(onlyState(await client.show('empty'))).toBe('ready');
    expect((await content(made)).length).toBe(0);
  });

  test('expectedChecksum is the SHA-512 of the file: right is ready, wrong is failed and can be uploaded again', async () => {
    const bytes = randomBytes(2 * MiB + 1);
    const sha512 = createHash('sha512').update(bytes).digest('hex');
    await client.create('checked', { expectedChecksum: sha512 });
    await client.uploadAll('checked', bytes, evenCuts(bytes.length, 1 * MiB), 2);
    await expect.poll(async () => onlyState(await client.show('checked'))).toBe('ready');
    expect((await client.show('checked')).currentChecksum).toBe(sha512);
    await client.create('unlike', { expectedChecksum: sha512 });
    const other = randomBytes(2 * MiB);
    await client.uploadAll('unlike', other, evenCuts(other.length, 1 * MiB), 2).catch(() => {});
    await expect.poll(async () => onlyState(await client.show('unlike'))).toBe('failed');
    expect(Object.keys((await client.show('unlike')).actions)).toContain('uploadServerStart');
    await client.uploadAll('unlike', bytes, evenCuts(bytes.length, 1 * MiB), 2);
    await expect.poll(async () => onlyState(await client.show('unlike'))).toBe('ready');
  });
});

describe('one upload, whatever the door', () => {
  test('begun here it goes on by native PUT, and the reverse', async () => {
    const bytes = randomBytes(4 * MiB);
    const cuts = evenCuts(bytes.length, 1 * MiB);
    const made = await client.create('first-here');
    await client.must(client.action('first-here', 'uploadServerStart', { size: bytes.length }));
    for (const cut of cuts.slice(0, 2))
      await client.send('first-here', cut, bytes.subarray(cut.offset, cut.offset + cut.length));
    const { uploadId } = await api.ok<{ uploadId: string }>('GET', `/images/${made.uuid}`);
    expect((await api.ranges(uploadId)).ranges).toEqual([{ offset: 0, length: 2 * MiB }]);
    await api.put(uploadId, 2 * MiB, bytes.subarray(2 * MiB));
    await api.ok('POST', `/uploads/${uploadId}/finish`, { body: {} });
    expect((await content(made)).equals(bytes)).toBe(true);

    const begun = await api.begin({ name: 'first-there', size: bytes.length });
    await api.put(begun.id, 1 * MiB, bytes.subarray(1 * MiB, 3 * MiB));
    const { skipped } = await client.uploadAll('first-there', bytes, cuts, 1);
    expect(skipped).toBe(2);
    expect((await content({ uuid: begun.imageId })).equals(bytes)).toBe(true);
  });

  test('where a chunk goes is said by the upload address alone', async () => {
    const bytes = randomBytes(2 * MiB);
    const made = await client.create('moved');
    await client.must(client.action('moved', 'uploadServerStart', { size: bytes.length }));
    const cuts = evenCuts(bytes.length, 1 * MiB);
    const [first, second] = cuts;
    if (first === undefined || second === undefined) throw new Error('two chunks are wanted');
    await client.send('moved', first, bytes.subarray(0, 1 * MiB));
    await client.create('other');
    await client.must(client.action('other', 'uploadServerStart', { size: bytes.length }));
    const db = await database();
    const addressOf = `(select upload_address from upload_servers where upload_id = (select upload_id from images where name = $1))`;
    await db.query(
      `update upload_servers set upload_address = ${addressOf} where upload_id = (select upload_id from images where name = $2)`,
      ['other', 'moved'],
    );
    await client.send('moved', second, bytes.subarray(1 * MiB));
    await db.end();
    const ranges = async (name: string) => {
      const { uuid } = await client.show(name);
      const { uploadId } = await api.ok<{ uploadId: string }>('GET', `/images/${uuid}`);
      return (await api.ranges(uploadId)).receivedBytes;
    };
    expect(await ranges('moved')).toBe(1 * MiB);
    expect((await client.show('moved')).uploadAddress).toBe((await client.show('other')).uploadAddress);
    // It waits beside the other one: that has nothing yet, so nobody can say where index 1 belongs.
    expect(await client.send('other', second, bytes.subarray(1 * MiB))).toBe(true);
    await client.ok('DELETE', `/backingimages/${made.name}`);
    await client.ok('DELETE', '/backingimages/other');
  });
});

describe('what shipped', () => {
  const whole = (name: string, size: number, bytes: Uint8Array) => {
    const form = new FormData();
    form.append('chunk', new Blob([Buffer.from(bytes)]), 'disk.img');
    return client.action(name, 'upload', { size }, form);
  };

  test('one request with the whole file; shorter or longer than its size is refused and can be repeated', async () => {
    const bytes = randomBytes(7 * MiB + 13);
    const made = await client.create('whole');
    expect(made.actions.upload).toBe(`${serving.api}/v1/backingimages/whole?action=upload`);
    const short = await whole('whole', bytes.length, bytes.subarray(0, 5 * MiB));
    expect(short.status).toBe(409);
    expect(short.text).toContain('are missing');
    const long = await whole('whole', bytes.length, Buffer.concat([bytes, bytes]));
    expect(long.status).toBe(413);
    expect((await whole('whole', bytes.length, bytes)).status).toBe(200);
    await expect.poll(async () => onlyState(await client.show('whole'))).toBe('ready');
    expect((await content(made)).equals(bytes)).toBe(true);
    expect((await whole('whole', bytes.length, bytes)).status).toBe(409);
  });

  test('download as gzip, and raw by ranges', async () => {
    const bytes = Buffer.concat([randomBytes(1 * MiB), Buffer.alloc(3 * MiB), randomBytes(100)]);
    await client.create('down');
    await client.uploadAll('down', bytes, evenCuts(bytes.length, 1 * MiB));
    const get = (query: string, headers: Record<string, string> = {}) =>
      fetch(`${serving.api}/v1/backingimages/down/download${query}`, {
        headers: { authorization: `Bearer ${serving.token}`, ...headers },
      });
    const zipped = await get('');
    expect(zipped.headers.get('content-disposition')).toContain('down.gz');
    const compressed = Buffer.from(await zipped.arrayBuffer());
    expect(compressed.length).toBeLessThan(bytes.length / 2);
    expect(gunzipSync(compressed).equals(bytes)).toBe(true);
    const part = await get('?raw=true', { range: 'bytes=1048570-1048589' });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 1048570-1048589/${bytes.length}`);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(1_048_570, 1_048_590))).toBe(true);
    expect((await get('?raw=true', { range: 'bytes=99999999-' })).status).toBe(413);
    const head = (query: string) =>
      fetch(`${serving.api}/v1/backingimages/down/download${query}`, {
        method: 'HEAD',
        headers: { authorization: `Bearer ${serving.token}` },
      });
    expect((await head('?raw=true')).headers.get('content-length')).toBe(String(bytes.length));
    expect((await head('')).headers.get('content-disposition')).toContain('down.gz');
  });

  test('collections, schemas and names', async () => {
    const index = (await client.ok('GET', '')).json as { links: Record<string, string> };
    expect(index.links.backingImages).toBe(`${serving.api}/v1/backingimages`);
    const schemas = (await client.ok('GET', '/schemas')).json as { data: { id: string }[] };
    expect(schemas.data.map(({ id }) => id)).toContain('backingImage');
    await client.create('named', { minNumberOfCopies: 1, diskSelector: [], nodeSelector: [] });
    const list = (await client.ok('GET', '/backingimages')).json as { resourceType: string; data: BackingImage[] };
    expect(list.resourceType).toBe('backingImage');
    expect(list.data.find(({ id }) => id === 'named')?.links).toEqual({
      self: `${serving.api}/v1/backingimages/named`,
    });
    const twice = await client.call('POST', '/backingimages', {
      json: { name: 'named', sourceType: 'upload', parameters: {} },
    });
    expect(twice.status).toBe(409);
    const other = await api.begin({ name: 'named', size: 5 });
    const ambiguous = await client.call('GET', '/backingimages/named');
    expect(ambiguous).toMatchObject({ status: 409, json: { type: 'error' } });
    expect(ambiguous.text).toContain(other.imageId);
    expect((await client.show(other.imageId)).name).toBe('named');
    const all = (await client.ok('GET', '/backingimages')).json as { data: BackingImage[] };
    expect(new Set(all.data.map(({ id }) => id)).size).toBe(all.data.length);
    const minimum = await client.call('POST', `/backingimages/${other.imageId}?action=updateMinNumberOfCopies`, {
      json: { minNumberOfCopies: 2 },
    });
    expect(minimum.json).toMatchObject({ minNumberOfCopies: 2 });
  });

  test('what is not there, and what may be null', async () => {
    for (const [method, path, status, allow] of [
      ['GET', '/nothing', 404, null],
      ['POST', '/nothing', 404, null],
      ['GET', '/schemas/nothing', 404, null],
      ['PUT', '/backingimages/even', 405, 'DELETE, GET, HEAD, POST'],
      ['GET', '/ws/backingimages', 400, null],
      ['GET', '/ws/often/backingimages', 400, null],
    ] as const) {
      const answer = await fetch(`${serving.api}/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${serving.token}` },
      });
      expect([path, answer.status, answer.headers.get('allow')]).toEqual([path, status, allow]);
      expect(await answer.json()).toMatchObject({ type: 'error', status });
    }
    expect((await client.ok('GET', '/schemas/backingImage')).json).toMatchObject({ id: 'backingImage' });
    const backup = await client.call('POST', '/backingimages/even?action=backupBackingImageCreate', { json: {} });
    expect(backup).toMatchObject({ status: 422, json: { detail: 'unsupported' } });
    const nulls = { minNumberOfCopies: null, expectedChecksum: null, nodeSelector: null, diskSelector: null };
    await client.create('nulls', { ...nulls, secret: null, secretNamespace: null, dataEngine: null });
    expect(await client.show('nulls')).toMatchObject({ minNumberOfCopies: 1, nodeSelector: [], diskSelector: [] });
    const refused = await new Promise((resolve) => {
      const socket = new WebSocket(`${serving.api.replace('http', 'ws')}/v1/ws/often/backingimages`, {
        headers: { authorization: `Bearer ${serving.token}` },
      });
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      socket.on('error', (error) => resolve(error.message));
    });
    expect(refused).toBe(400);
  });

  test('what cannot be done is said', async () => {
    const create = (body: unknown) => client.call('POST', '/backingimages', { json: body });
    const base = { name: 'never', parameters: {} };
    expect((await create({ ...base, sourceType: 'restore' })).status).toBe(422);
    expect((await create({ ...base, sourceType: 'export-from-volume' })).status).toBe(422);
    expect((await create({ ...base, sourceType: 'magic' })).status).toBe(400);
    expect((await create({ ...base, sourceType: 'download' })).status).toBe(400);
    expect((await create({ name: 'never' })).status).toBe(400);
    expect((await create({ ...base, sourceType: 'upload', expectedChecksum: 'ab' })).status).toBe(400);
    expect((await create({ ...base, sourceType: 'clone', parameters: { 'backing-image': 'nobody' } })).status).toBe(
      404,
    );
    const cleanup = await client.call('POST', '/backingimages/even?action=backingImageCleanup', {
      json: { disks: Object.keys((await client.show('even')).diskFileStatusMap) },
    });
    expect(cleanup.status).toBe(409);
    expect(cleanup.text).toContain('cannot be fetched again');
  });

  test('a clone is made of a backing image', async () => {
    const json = { name: 'twin', sourceType: 'clone', parameters: { 'backing-image': 'even', encryption: 'ignore' } };
    const twin = (await client.ok('POST', '/backingimages', { json })).json as BackingImage;
    await expect.poll(async () => onlyState(await client.show('twin')), { timeout: 30_000 }).toBe('ready');
    expect((await content(twin)).equals(await content(await client.show('even')))).toBe(true);
  });

  test('the watch tells the collection at once and when it changes', async () => {
    const socket = new WebSocket(`${serving.api.replace('http', 'ws')}/v1/ws/500ms/backingimages`, {
      headers: { authorization: `Bearer ${serving.token}` },
    });
    const told: { data: BackingImage[] }[] = [];
    socket.on('message', (data) => told.push(JSON.parse(data.toString())));
    await expect.poll(() => told.length).toBeGreaterThan(0);
    await client.create('watched');
    await expect.poll(() => told.at(-1)?.data.map(({ name }) => name)).toContain('watched');
    socket.terminate();
  });
});

describe('who may', () => {
  test('the API wants a token; the upload server a certificate of control', async () => {
    const nobody = new LonghornClient(serving.api, undefined);
    expect(await nobody.call('GET', '/backingimages')).toMatchObject({
      status: 401,
      json: { type: 'error', status: 401 },
    });
    expect((await new LonghornClient(serving.api, 'wrong').call('GET', '/backingimages')).status).toBe(401);
    const { uploadAddress } = await client.create('guarded');
    const failure = await new Promise<string>((resolve) => {
      const request = httpsRequest(`https://${uploadAddress}/v1-bi-upload/start?size=1`, {
        method: 'POST',
        rejectUnauthorized: false,
      });
      request.on('response', (response) => resolve(`answered ${response.statusCode}`));
      request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      request.end();
    });
    expect(failure).toMatch(/^(ERR_SSL|ECONNRESET|EPIPE)/);
  });

  test('open by two flags, as the original is', async () => {
    await using open = await startServing({
      env: { ...env, HAWSER_LONGHORN_OPEN: 'on', HAWSER_LONGHORN_OPEN_UPLOAD_SERVERS: 'on' },
    });
    const anybody = new LonghornClient(open.api, undefined);
    const bytes = randomBytes(1 * MiB + 1);
    const { uploadAddress } = await anybody.create('open');
    const direct = await fetch(`http://${uploadAddress}/v1-bi-upload/start?size=${bytes.length}`, { method: 'POST' });
    expect(direct.status).toBe(200);
    const lost = await fetch(`http://${uploadAddress}/v1-bi-upload/nothing`, { method: 'POST' });
    expect(lost.status).toBe(404);
    await anybody.uploadAll('open', bytes, evenCuts(bytes.length, 1 * MiB));
    expect(onlyState(await anybody.show('open'))).toBe('ready');
    const crossSite = await fetch(`${open.api}/v1/backingimages`, { headers: { 'sec-fetch-site': 'cross-site' } });
    expect(crossSite.status).toBe(403);
    expect((await fetch(`${open.api}/api/v1/images`)).status).toBe(401);
  });
});

/** The database of the server itself. */
async function database(): Promise<pg.Client> {
  const db = new pg.Client({ host: join(serving.dataDir, 'run', 'pg'), user: 'hawser', database: 'postgres' });
  await db.connect();
  return db;
}
