import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFileSink } from '../../src/cli/node/file-sink.ts';
import { openLocalFile } from '../../src/cli/node/file-source.ts';
import { HashPool } from '../../src/cli/node/hash-pool.ts';
import { HttpConnection } from '../../src/cli/node/http-connection.ts';
import { NodeTransport } from '../../src/cli/node/node-transport.ts';
import { downloadFromImageio, imageioSize } from '../../src/client/imageio-download.ts';
import { ImageioImage } from '../../src/client/imageio-image.ts';
import type { ImageioProgress } from '../../src/client/imageio-progress.ts';
import { type ImageioUploadOptions, uploadToImageio } from '../../src/client/imageio-upload.ts';
import { parseTransferUrl } from '../../src/client/imageio-words.ts';
import { systemClock } from '../../src/client/system-clock.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { type OriginalOptions, startOriginal } from './imageio-original.ts';
import { type Stage, startStage } from './imageio-stage.ts';

const MiB = 1024 * 1024;
const hashing = new HashPool();
let stage: Stage;

beforeAll(async () => {
  stage = await startStage({}, 24);
});
afterAll(async () => {
  await stage[Symbol.asyncDispose]();
  await hashing[Symbol.asyncDispose]();
});

const temporary = () => join(stage.folder, randomUUID());

/** Holes where there is nothing, and a tail that is no block. */
async function sparseFile(pieces: readonly (readonly [offset: number, bytes: Buffer])[], size: number) {
  const path = temporary();
  await using file = await open(path, 'w');
  await file.truncate(size);
  for (const [offset, bytes] of pieces) await file.write(bytes, 0, bytes.length, offset);
  return path;
}

/** A file behind a ticket, with `content` in it. */
async function behind(content: Buffer | number, values: Readonly<Record<string, unknown>> = {}) {
  const path = join(stage.images, `${randomUUID()}.img`);
  await writeFile(path, typeof content === 'number' ? '' : content);
  const size = typeof content === 'number' ? content : content.length;
  const id = await stage.ticket({ url: `file://${path}`, size, sparse: true, ...values });
  return { path, id };
}

async function connected<T>(url: string, use: (image: ImageioImage) => Promise<T>, signal = never()): Promise<T> {
  const where = parseTransferUrl(url);
  const ca = await readFile(join(stage.folder, 'data', 'keys', 'server.crt'), 'utf8');
  using connection = new HttpConnection({ ca, socketPath: where.socketPath });
  const transport = new NodeTransport(connection);
  return await use(new ImageioImage({ where, fetch: connection.fetch, transport, clock: systemClock, signal }));
}
const never = () => new AbortController().signal;

function upload(path: string, url: string, more: Partial<ImageioUploadOptions> = {}) {
  return connected(
    url,
    async (image) => {
      await using source = await openLocalFile(path);
      const common = { hashing, clock: systemClock, signal: never(), parallel: 4, maxChunk: 2 * MiB };
      return await uploadToImageio({ image, offer: await image.offer(), source, ...common, ...more });
    },
    more.signal,
  );
}

function download(url: string, path: string, signal = never(), onProgress = (_: ImageioProgress) => {}) {
  return connected(
    url,
    async (image) => {
      const offer = await image.offer();
      const size = await imageioSize(image, offer);
      await using sink = await openFileSink(path, size);
      const common = { hashing, clock: systemClock, signal, parallel: 4, onProgress };
      return await downloadFromImageio({ image, offer, size, sink, ...common });
    },
    signal,
  );
}

async function withOriginal<T>(options: OriginalOptions, use: (url: string, seen: string[]) => Promise<T>): Promise<T> {
  await using original = await startOriginal(stage.http, options);
  return await use(original.url, original.seen);
}

const same = async (one: string, other: string) => (await readFile(one)).equals(await readFile(other));
const blocksOf = async (path: string) => (await stat(path)).blocks * 512;

async function codeOf(promise: Promise<unknown>): Promise<ErrorCode> {
  return await promise.then(
    () => {
      throw new Error('it succeeded');
    },
    (error) => error.code ?? String(error),
  );
}

/** Data, a hole, zeros that were written, a tail. */
const SIZE = 24 * MiB + 777;
const sample = () =>
  sparseFile(
    [
      [0, randomBytes(3 * MiB)],
      [9 * MiB + 123, randomBytes(2 * MiB)],
      [14 * MiB, Buffer.alloc(4 * MiB)],
      [SIZE - 777, randomBytes(777)],
    ],
    SIZE,
  );

describe('up', () => {
  test.each([
    ['https', () => `${stage.https}/images/`],
    ['http', () => `${stage.http}/images/`],
    ['the unix socket', () => `unix:${stage.unix}:/images/`],
  ])('over %s: data is sent, holes and zeros are not, and all is verified', async (_, base) => {
    const source = await sample();
    const { path, id } = await behind(SIZE);
    const outcome = await upload(source, base() + id);
    expect(await same(source, path)).toBe(true);
    expect(outcome).toMatchObject({ verified: true, size: SIZE, imageSize: SIZE, keptBytes: 0 });
    expect(outcome.sentBytes).toBe(6 * MiB + 777);
    expect(outcome.zeroBytes).toBe(SIZE - outcome.sentBytes);
    expect(await blocksOf(path)).toBeLessThan(7 * MiB);
    const outer = createHash('sha256');
    const bytes = await readFile(source);
    for (let at = 0; at < bytes.length; at += MiB) {
      outer.update(
        createHash('sha256')
          .update(bytes.subarray(at, at + MiB))
          .digest(),
      );
    }
    expect(outcome.treeDigest).toBe(outer.digest('hex'));
    expect(await upload(source, base() + id)).toMatchObject({ sentBytes: 0, keptBytes: 6 * MiB + 777, verified: true });
  });

  test('over what was there: it is zeroed where the source has holes, and what lies behind stays', async () => {
    const source = await sample();
    const old = randomBytes(SIZE + 5 * MiB);
    const { path, id } = await behind(old);
    const outcome = await upload(source, `${stage.http}/images/${id}`);
    const now = await readFile(path);
    expect(now.subarray(0, SIZE).equals(await readFile(source))).toBe(true);
    expect(now.subarray(SIZE).equals(old.subarray(SIZE))).toBe(true);
    expect(outcome).toMatchObject({ verified: true, imageSize: SIZE + 5 * MiB });
  });

  test('interrupted and begun again, it sends only what is missing; one byte that is other is found', async () => {
    const source = await sparseFile([[0, randomBytes(20 * MiB)]], 30 * MiB);
    const { path, id } = await behind(30 * MiB);
    const url = `${stage.http}/images/${id}`;
    const stop = new AbortController();
    const onProgress = ({ done, phase }: { readonly done: number; readonly phase: string }) => {
      if (phase === 'sending' && done - 10 * MiB > 8 * MiB) stop.abort(new Error('enough'));
    };
    await expect(upload(source, url, { signal: stop.signal, onProgress })).rejects.toThrow('enough');
    const again = await upload(source, url);
    expect(await same(source, path)).toBe(true);
    expect(again.keptBytes).toBeGreaterThanOrEqual(8 * MiB);
    expect(again.sentBytes + again.keptBytes).toBe(20 * MiB);
    await using file = await open(path, 'r+');
    await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, 7 * MiB + 5);
    expect(await upload(source, url)).toMatchObject({ sentBytes: 2 * MiB, keptBytes: 18 * MiB });
    expect(await same(source, path)).toBe(true);
  });

  test('what lies there is something else: comparing ends soon; told to, it does not begin', async () => {
    const source = await sparseFile([[0, randomBytes(30 * MiB)]], 30 * MiB);
    const { path, id } = await behind(randomBytes(30 * MiB));
    await withOriginal({}, async (base, seen) => {
      const checksums = () => seen.filter((name) => name.includes('/checksum')).length;
      await upload(source, `${base}/images/${id}`);
      expect(checksums()).toBeLessThan(10);
      const before = checksums();
      expect((await upload(source, `${base}/images/${id}`, { restart: true })).sentBytes).toBe(30 * MiB);
      expect(checksums() - before, 'the one that verifies').toBe(1);
    });
    expect(await same(source, path)).toBe(true);
  });

  test('to the original: PATCH zero for holes, PUT of what is data, one flush, one checksum of all', async () => {
    const source = await sample();
    const { path, id } = await behind(randomBytes(SIZE));
    await withOriginal({ plain: true }, async (base, seen) => {
      const outcome = await upload(source, `${base}/images/${id}`);
      expect(outcome).toMatchObject({ verified: true, keptBytes: 0, sentBytes: 6 * MiB + 777 });
      expect(seen.slice(0, 3)).toEqual(['OPTIONS ', 'PATCH zero', 'GET /extents']);
      expect(seen.slice(-3)).toEqual([
        'PATCH flush',
        'GET /extents',
        'GET /checksum?algorithm=sha256&block_size=1048576',
      ]);
      expect(seen.filter((name) => name.includes('start='))).toEqual([]);
    });
    expect(await same(source, path)).toBe(true);
  });

  test('only what is offered: without zero, flush and checksum everything is a PUT', async () => {
    const source = await sample();
    const { path, id } = await behind(randomBytes(SIZE));
    await withOriginal({ plain: true, without: ['zero', 'flush', 'checksum', 'extents'] }, async (base, seen) => {
      const outcome = await upload(source, `${base}/images/${id}`);
      expect(outcome).toMatchObject({ verified: false, sentBytes: SIZE, zeroBytes: 0, imageSize: undefined });
      expect(seen.filter((name) => !name.startsWith('PUT') && name !== 'OPTIONS ')).toEqual([]);
    });
    expect(await same(source, path)).toBe(true);
  });

  test('every third connection breaks: it arrives whole all the same', async () => {
    const source = await sample();
    const { path, id } = await behind(SIZE);
    await withOriginal({ cut: (number) => number > 3 && number % 3 === 0 }, async (base) => {
      const outcome = await upload(source, `${base}/images/${id}`);
      expect(outcome.verified).toBe(true);
    });
    expect(await same(source, path)).toBe(true);
  });

  test('bytes that change on the way are found in the end', async () => {
    const source = await sample();
    const { id } = await behind(SIZE);
    const spoil = (bytes: Buffer) => (bytes.length < MiB ? Buffer.alloc(bytes.length) : bytes);
    for (const plain of [true, false]) {
      await withOriginal({ plain, spoil }, async (base) => {
        expect(await codeOf(upload(source, `${base}/images/${id}`))).toBe('digest-mismatch');
      });
    }
  });

  test('refused before a byte: a source that is too large, a ticket to read, expired, removed, unknown', async () => {
    const source = await sample();
    const old = randomBytes(SIZE - 1);
    const small = await behind(old);
    const error = await upload(source, `${stage.http}/images/${small.id}`).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'too-large',
      message: expect.stringContaining(`${SIZE} bytes, and the ticket allows ${SIZE - 1}.`),
    });
    expect((await readFile(small.path)).equals(old)).toBe(true);
    const read = await behind(old, { ops: ['read'] });
    expect(await codeOf(upload(source, `${stage.http}/images/${read.id}`))).toBe('forbidden');
    const expired = await behind(SIZE, { timeout: 0 });
    expect(await codeOf(upload(source, `${stage.http}/images/${expired.id}`))).toBe('expired');
    const unknown = await upload(source, `${stage.http}/images/secret-id`).catch((thrown: unknown) => thrown);
    expect(unknown).toMatchObject({ code: 'not-found', message: expect.not.stringContaining('secret-id') });
    expect(await codeOf(upload(source, `${stage.http}/elsewhere/images/x`))).toBe('not-found');
  });

  test('a ticket that is removed while it is used ends it', async () => {
    const source = await sparseFile([[0, randomBytes(30 * MiB)]], 30 * MiB);
    const { id } = await behind(30 * MiB);
    let removed: Promise<unknown> | undefined;
    const onProgress = ({ done }: { readonly done: number }) => {
      if (done > 4 * MiB) removed ??= stage.call({ to: stage.control, method: 'DELETE', path: `/tickets/${id}` });
    };
    const code = await codeOf(upload(source, `${stage.http}/images/${id}`, { onProgress }));
    expect(['cancelled', 'not-found']).toContain(code);
    await removed;
  });

  test('a source that is written meanwhile is not taken for uploaded', async () => {
    const source = await sample();
    const { id } = await behind(SIZE);
    let wrote: Promise<void> | undefined;
    const onProgress = () => {
      wrote ??= writeFile(source, 'x', { flag: 'a' });
    };
    expect(await codeOf(upload(source, `${stage.http}/images/${id}`, { onProgress }))).toBe('source-changed');
    await wrote;
  });

  test('whatever lies on either side, what is there in the end is the source', async () => {
    const kinds = fc.constantFrom('data', 'other', 'zeros', 'hole');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(kinds, kinds), { minLength: 1, maxLength: 5 }),
        fc.nat(5000),
        fc.boolean(),
        async (blocks, tail, plain) => {
          const size = blocks.length * MiB + tail;
          const pieces = (side: 0 | 1) =>
            blocks.flatMap((kindsOf, i): (readonly [number, Buffer])[] => {
              const kind = kindsOf[side];
              if (kind === 'hole') return [];
              const fill = kind === 'zeros' ? 0 : kind === 'data' ? 7 : 9;
              return [[i * MiB, Buffer.alloc(MiB, fill)]];
            });
          const source = await sparseFile(pieces(0), size);
          const target = await readFile(await sparseFile(pieces(1), size));
          const { path, id } = await behind(target);
          await withOriginal({ plain }, async (base) => {
            expect((await upload(source, `${base}/images/${id}`)).verified).toBe(true);
          });
          expect(await same(source, path)).toBe(true);
        },
      ),
      { numRuns: 12 },
    );
  });
});

describe('down', () => {
  test.each([
    ['https', () => `${stage.https}/images/`],
    ['the unix socket', () => `unix:${stage.unix}:/images/`],
  ])('over %s: data is fetched, holes are not, and all is verified', async (_, base) => {
    const { path, id } = await behind(await readFile(await sample()), { ops: ['read'] });
    const hole = await sample();
    const out = temporary();
    expect(await download(base() + id, out)).toMatchObject({ verified: true, size: SIZE, keptBytes: 0 });
    expect(await same(out, path)).toBe(true);
    const sparse = join(stage.images, randomUUID());
    await truncate(await touched(sparse), 2 ** 31);
    const large = await stage.ticket({ url: `file://${sparse}`, size: 2 ** 31, ops: ['read'] });
    expect(await download(base() + large, temporary())).toMatchObject({ fetchedBytes: 0, holeBytes: 2 ** 31 });
    expect(await blocksOf(hole)).toBeLessThan(SIZE);
  });

  test('from the original, which ships zeros: they become holes, and all is verified', async () => {
    const source = await sample();
    const { path, id } = await behind(await readFile(source), { ops: ['read'] });
    const out = temporary();
    await withOriginal({ plain: true }, async (base) => {
      expect(await download(`${base}/images/${id}`, out)).toMatchObject({ verified: true, holeBytes: 0 });
    });
    expect(await same(out, path)).toBe(true);
    expect(await blocksOf(out)).toBeLessThan(8 * MiB);
  });

  test.each([false, true])('interrupted and begun again (original: %s) it fetches what is missing', async (plain) => {
    const content = randomBytes(40 * MiB);
    const { id } = await behind(content, { ops: ['read'] });
    const out = temporary();
    await withOriginal(
      { plain, cut: (number, name) => number % 4 === 0 && /^GET \d/.test(name) },
      async (base, seen) => {
        const url = `${base}/images/${id}`;
        const stop = new AbortController();
        const whole = download(url, out, stop.signal);
        whole.catch(() => undefined);
        while (seen.filter((name) => /^GET \d/.test(name)).length < 7) await new Promise(setImmediate);
        stop.abort(new Error('enough'));
        await expect(whole).rejects.toThrow('enough');
        const again = await download(url, out);
        expect(again.verified).toBe(true);
        expect(again.keptBytes).toBeGreaterThan(0);
        expect(again.keptBytes + again.fetchedBytes).toBe(content.length);
      },
    );
    expect((await readFile(out)).equals(content)).toBe(true);
  });

  test.each([false, true])('what was left of another image (original: %s) does not stay', async (plain) => {
    const content = randomBytes(12 * MiB + 5);
    content.fill(0, 2 * MiB, 6 * MiB);
    const { id } = await behind(content, { ops: ['read'] });
    const out = temporary();
    await writeFile(out, randomBytes(14 * MiB));
    await withOriginal({ plain }, async (base) => {
      expect((await download(`${base}/images/${id}`, out)).verified).toBe(true);
    });
    expect((await readFile(out)).equals(content)).toBe(true);
  });

  test('an image that is written meanwhile is not taken for fetched', async () => {
    const content = randomBytes(24 * MiB);
    const { path, id } = await behind(content, { ops: ['read'] });
    let wrote: Promise<void> | undefined;
    const write = async () => {
      await using file = await open(path, 'r+');
      await file.write(Buffer.from('other'), 0, 5, 23 * MiB);
    };
    const onProgress = ({ done }: ImageioProgress) => {
      if (done > 0) wrote ??= write();
    };
    const code = await codeOf(download(`${stage.http}/images/${id}`, temporary(), never(), onProgress));
    expect(['source-changed', 'corrupt']).toContain(code);
    await wrote;
  });

  test('progress never goes back within a phase, up and down', async () => {
    const source = await sparseFile([[0, randomBytes(20 * MiB)]], 30 * MiB);
    const { id } = await behind(30 * MiB);
    const seen: ImageioProgress[] = [];
    const note = (progress: ImageioProgress) => void seen.push(progress);
    await upload(source, `${stage.http}/images/${id}`, { onProgress: note });
    await download(`${stage.http}/images/${id}`, temporary(), never(), note);
    for (const [i, now] of seen.entries()) {
      const before = seen[i - 1];
      if (before === undefined || before.phase !== now.phase) continue;
      expect(now.done + now.underway, now.phase).toBeGreaterThanOrEqual(before.done + before.underway);
      expect(now.done + now.underway).toBeLessThanOrEqual(now.total);
    }
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual([
      'comparing',
      'sending',
      'flushing',
      'verifying',
      'done',
      'fetching',
    ]);
  });

  test('without extents and checksum it is fetched whole, and nothing is called verified', async () => {
    const content = randomBytes(5 * MiB);
    const { id } = await behind(content, { ops: ['read'] });
    const out = temporary();
    await withOriginal({ without: ['extents', 'checksum'] }, async (base) => {
      expect((await download(`${base}/images/${id}`, out)).verified).toBe(false);
    });
    expect((await readFile(out)).equals(content)).toBe(true);
  });
});

async function touched(path: string): Promise<string> {
  await writeFile(path, '');
  return path;
}
