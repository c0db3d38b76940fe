import { randomBytes } from 'node:crypto';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { PullSource } from '../../contract/link.ts';
import { treeOf } from '../../engine/testing/rig.ts';
import { addressGuard } from '../../links/url/address-guard.ts';
import { openUrls } from '../../links/url/open-urls.ts';
import { type HostStage, hostStage, type OpenedUpload } from './testing/host-stage.ts';
import { type Served, type ServeOptions, serveBytes, urlServer } from './testing/url-server.ts';

const MiB = 1024 * 1024;
const bytes = Buffer.concat([randomBytes(3 * MiB + 5), Buffer.alloc(4 * MiB), randomBytes(2 * MiB)]);

const from = (url: string, decompress: 'none' | 'auto' = 'none'): PullSource => ({ kind: 'url', url, decompress });
const ended = ({ pull }: { readonly pull: string | null }) => pull === 'done' || pull === 'failed';

/** Fetches, and says how it ended. */
async function fetched(host: HostStage, url: string, options: { decompress?: 'none' | 'auto'; maxSize?: number } = {}) {
  const ref = await host.open(options.maxSize === undefined ? {} : { maxSize: options.maxSize });
  await host.pull(ref, from(url, options.decompress));
  const report = await host.until(ref, ended);
  return { ref, report };
}

async function contentOf(host: HostStage, ref: OpenedUpload): Promise<Buffer> {
  const { sealed } = await host.finish(ref);
  const content = await host.content(ref.storeId, ref.key);
  expect(sealed?.treeDigest).toBe(treeOf(content));
  return content;
}

/** For links to a server behind another host name, with a resolver of the test's own. */
function linksWith(resolve: (host: string) => string, allow: readonly string[] = ['127.0.0.0/8'], stallMs = 30_000) {
  return {
    openUrl: openUrls({
      guard: addressGuard({ allow, own: () => [] }),
      resolve: async (host) => [{ address: resolve(host), family: 4 }],
      now: () => new Date(),
      passed: () => {},
      stallMs,
    }),
  };
}

describe('a server that serves ranges', () => {
  test('its size becomes the declared one, and the bytes come by several requests', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => serveBytes(served, bytes));
    const { ref, report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'done', declaredSize: bytes.length, receivedBytes: bytes.length });
    expect(report.zeroBytes).toBeGreaterThanOrEqual(3 * MiB);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    expect(server.requests.slice(1).every(({ headers }) => headers['if-range'] === '"one"')).toBe(true);
    expect(host.slabs.inUse).toBe(0);
  });

  test.each([0, 1, 63, 64, 65])('a file of %i bytes', async (length) => {
    await using host = await hostStage();
    await using server = await urlServer((served) => serveBytes(served, bytes.subarray(0, length)));
    const { ref } = await fetched(host, server.url);
    expect((await contentOf(host, ref)).equals(bytes.subarray(0, length))).toBe(true);
  });

  test('after cuts at random places only what is missing is asked for again', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => {
      const cutAfter = served.count % 3 === 1 ? Math.floor(Math.random() * 2 * MiB) : undefined;
      serveBytes(served, bytes, cutAfter === undefined ? {} : { cutAfter });
    });
    const { ref } = await fetched(host, server.url);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    expect(host.waits.length).toBeGreaterThan(0);
    const asked = server.requests.slice(1).reduce((sum, { range }) => sum + lengthOf(range), 0);
    expect(asked).toBeLessThan(bytes.length * 2);
  });

  test('after a restart of the agent it goes on by what is missing', async () => {
    await using host = await hostStage();
    const half = { broken: true };
    await using server = await urlServer((served) =>
      half.broken && served.count > 0 ? serveBytes(served, bytes, { cutAfter: 2 * MiB }) : serveBytes(served, bytes),
    );
    const ref = await host.open();
    await host.pull(ref, from(server.url));
    await host.until(ref, ({ receivedBytes }) => receivedBytes >= 2 * MiB);
    await host.restart();
    half.broken = false;
    const kept = (await host.until(ref, () => true)).receivedBytes;
    expect(await host.until(ref, () => true)).toMatchObject({ pull: null });
    const before = server.requests.length;
    await host.pull(ref, from(server.url));
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    const asked = server.requests.slice(before + 1).reduce((sum, { range }) => sum + lengthOf(range), 0);
    expect(asked).toBe(bytes.length - kept);
  });

  test('another ETag in the middle is source-changed, and nothing is spliced; also across a restart', async () => {
    await using host = await hostStage();
    const other = randomBytes(bytes.length);
    await using server = await urlServer((served) =>
      served.count < 2 ? serveBytes(served, bytes, { cutAfter: MiB }) : serveBytes(served, other, { etag: '"two"' }),
    );
    const { ref, report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'source-changed' } });
    expect(report.receivedBytes).toBeLessThanOrEqual(MiB);
    await host.restart();
    await host.pull(ref, from(server.url));
    expect(await host.until(ref, ended)).toMatchObject({ pull: 'failed', problem: { code: 'source-changed' } });
  });

  test('one that answers other ranges than asked is fetched in one stream', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => {
      if (served.count === 0 || served.request.headers.range === undefined) return serveBytes(served, bytes);
      const headers = { etag: '"one"', 'content-range': `bytes 1000-1099/${bytes.length}`, 'content-length': 100 };
      served.response.writeHead(206, headers).end(randomBytes(100));
    });
    const { ref } = await fetched(host, server.url);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });

  test('one that sends more than asked is refused; what is less is asked on', async () => {
    await using host = await hostStage();
    const at = (most: (asked: number) => number) =>
      urlServer(({ request, response }) => {
        const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(Number);
        const part = bytes.subarray(first, Math.min(bytes.length, first + most(last - first + 1)));
        const range = `bytes ${first}-${first + part.length - 1}/${bytes.length}`;
        response.writeHead(206, { etag: '"one"', 'content-range': range, 'content-length': part.length }).end(part);
      });
    await using less = await at((asked) => Math.min(asked, 700_000));
    const { ref } = await fetched(host, less.url);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    await using more = await at((asked) => asked + 1);
    const { report } = await fetched(host, more.url);
    expect(report).toMatchObject({ pull: 'failed', receivedBytes: 0, problem: { code: 'unsupported' } });
  });
});

describe('a server without ranges, or without a promise', () => {
  test.each([
    ['no ranges', { ranges: false }],
    ['ranges but no validator', { etag: '' }],
    ['ranges but a weak one', { etag: 'W/"x"' }],
  ] satisfies [string, ServeOptions][])(
    '%s: one stream; begun anew after a cut it doubles nothing',
    async (_, options: ServeOptions) => {
      await using host = await hostStage();
      const cuts = [MiB + 17, 5 * MiB, 7 * MiB + 100];
      await using server = await urlServer((served) => {
        const cutAfter =
          served.request.headers.range === 'bytes=0-63' && options.ranges !== false ? undefined : cuts.shift();
        serveBytes(served, bytes, { ...options, ...(cutAfter === undefined ? {} : { cutAfter }) });
      });
      const { ref, report } = await fetched(host, server.url);
      expect(report).toMatchObject({ pull: 'done', receivedBytes: bytes.length, declaredSize: bytes.length });
      expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
      expect(host.waits.length).toBe(3);
    },
  );

  test('other bytes the second time are source-changed, and what came first stays', async () => {
    await using host = await hostStage();
    const other = Buffer.from(bytes).fill('x', 100, 200);
    await using server = await urlServer((served) =>
      serveBytes(served, served.count === 0 ? bytes : other, {
        ranges: false,
        etag: '',
        ...(served.count === 0 ? { cutAfter: 2 * MiB } : {}),
      }),
    );
    const { report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'source-changed' } });
  });

  test('a length that is not told is known at the end; chunks that break off are not an end', async () => {
    await using host = await hostStage();
    await using server = await urlServer(({ response, count }) => {
      response.writeHead(200);
      if (count === 0) response.write(bytes.subarray(0, 3 * MiB), () => response.destroy());
      else response.end(bytes);
    });
    const { ref, report } = await fetched(host, server.url);
    expect(report.declaredSize).toBe(bytes.length);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });

  test('one that announces more than it sends never becomes whole', async () => {
    await using host = await hostStage();
    await using server = await urlServer(({ response }) => {
      response.writeHead(200, { 'content-length': bytes.length + 10 });
      response.write(bytes, () => response.destroy());
    });
    const { report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'connection-lost' } });
  });

  test('a silent server is given up by the stall, however large the file', async () => {
    await using host = await hostStage(linksWith(() => '127.0.0.1', ['127.0.0.1'], 200));
    await using server = await urlServer((served) => {
      if (served.count === 1)
        served.response
          .writeHead(206, { etag: '"one"', 'content-range': `bytes 0-${bytes.length - 1}/${bytes.length}` })
          .write(bytes.subarray(0, MiB));
      else serveBytes(served, bytes);
    });
    const { ref } = await fetched(host, server.url);
    expect(host.waits.length).toBe(1);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });
});

describe('answers that are no file', () => {
  test('429 and 503 are waited out as long as Retry-After says', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => {
      if (served.count === 0) served.response.writeHead(429, { 'retry-after': '7' }).end();
      else if (served.count === 1) served.response.writeHead(503).end();
      else serveBytes(served, bytes);
    });
    const { ref } = await fetched(host, server.url);
    expect(host.waits[0]).toBe(7000);
    expect(host.waits).toHaveLength(2);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });

  test.each([
    [403, 'forbidden'],
    [404, 'not-found'],
    [400, 'unsupported'],
  ])('%i fails at once as %s, with the host and without secrets', async (status, code) => {
    await using host = await hostStage();
    await using server = await urlServer(({ response }) => void response.writeHead(status).end('no'));
    const { report } = await fetched(host, `http://user:geheim@127.0.0.1:${server.port}/disk?sig=secret`);
    expect(report).toMatchObject({ pull: 'failed', problem: { code } });
    expect(report.problem?.message).toContain(`127.0.0.1:${server.port} answered ${status}`);
    expect(report.problem?.message).not.toMatch(/geheim|secret|user/);
    expect(server.requests).toHaveLength(1);
  });

  test('a server that keeps failing is given up after some tries', async () => {
    await using host = await hostStage();
    await using server = await urlServer(({ response }) => void response.writeHead(500).end());
    const { report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'unavailable' } });
    expect(server.requests).toHaveLength(5);
  });

  test('what is larger than may be is refused before it comes', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => serveBytes(served, bytes));
    const { report } = await fetched(host, server.url, { maxSize: MiB });
    expect(report).toMatchObject({ pull: 'failed', receivedBytes: 0, problem: { code: 'too-large' } });
  });

  test('what has no room is refused before it comes', async () => {
    await using host = await hostStage();
    await using server = await urlServer(({ response }) => {
      response.writeHead(206, { etag: '"big"', 'content-range': `bytes 0-63/${2 ** 50}` }).end(bytes.subarray(0, 64));
    });
    const { report } = await fetched(host, server.url);
    expect(report).toMatchObject({ pull: 'failed', receivedBytes: 0, problem: { code: 'store-full' } });
  });
});

describe('redirects and addresses', () => {
  const redirectTo = ({ response }: Served, location: string, status = 302) =>
    void response.writeHead(status, { location }).end();

  test('are followed up to five; then the file is asked where it was found', async () => {
    await using host = await hostStage();
    await using server = await urlServer((served) => {
      const hop = Number(/^\/(\d)$/.exec(served.request.url ?? '')?.[1] ?? 9);
      if (hop < 5) redirectTo(served, `/${hop + 1}`, [301, 302, 303, 307, 308][hop]);
      else serveBytes(served, bytes);
    });
    const { ref } = await fetched(host, `http://127.0.0.1:${server.port}/0`);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    expect(server.requests).toHaveLength(7);
    await using other = await urlServer((served) => redirectTo(served, '/again'));
    expect((await fetched(host, other.url)).report).toMatchObject({ pull: 'failed', problem: { code: 'not-found' } });
    expect(other.requests).toHaveLength(6);
  });

  test('one to loopback, to a private address or to another scheme is refused', async () => {
    const allowed = linksWith((host) => (host === 'good.example' ? '127.0.0.1' : host), ['good.example']);
    await using host = await hostStage(allowed);
    await using inside = await urlServer((served) => serveBytes(served, bytes));
    const targets = [
      inside.url,
      'http://10.0.0.1/',
      'http://169.254.169.254/latest/meta-data/',
      'http://[::1]/',
      'http://2130706433/',
      'http://0x7f.1/',
      'http://[::ffff:127.0.0.1]/',
      'file:///etc/passwd',
      'ftp://good.example/x',
    ];
    for (const target of targets) {
      await using server = await urlServer((served) => redirectTo(served, target));
      const { report } = await fetched(host, `http://good.example:${server.port}/x`);
      expect(report, target).toMatchObject({ pull: 'failed', problem: { code: 'forbidden' } });
    }
    expect(inside.requests).toHaveLength(0);
  });

  test('a name that is private the second time is refused: each connection is checked', async () => {
    let looked = 0;
    const links = linksWith(() => (looked++ === 0 ? '127.0.0.1' : '127.0.0.2'), ['127.0.0.1']);
    await using host = await hostStage(links);
    await using server = await urlServer((served) => {
      served.response.setHeader('connection', 'close');
      serveBytes(served, bytes, served.count === 0 ? {} : { cutAfter: MiB });
    });
    const { report } = await fetched(host, `http://rebinding.example:${server.port}/x`);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'forbidden' } });
    expect(server.requests).toHaveLength(1);
  });

  test('a name with one private address among others is refused', async () => {
    const guard = addressGuard({ allow: ['127.0.0.1'], own: () => [] });
    const resolve = async () => ['127.0.0.1', '10.1.1.1'].map((address) => ({ address, family: 4 }));
    await using host = await hostStage({
      openUrl: openUrls({ guard, resolve, now: () => new Date(), passed: () => {} }),
    });
    await using server = await urlServer((served) => serveBytes(served, bytes));
    const { report } = await fetched(host, `http://mixed.example:${server.port}/x`);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'forbidden' } });
  });

  test('without an allow list loopback is refused in every spelling', async () => {
    await using host = await hostStage(linksWith((name) => (name === 'localhost' ? '127.0.0.1' : name), []));
    await using server = await urlServer((served) => serveBytes(served, bytes));
    for (const name of ['127.0.0.1', 'localhost', '2130706433', '0177.0.0.1', '127.1', '[::ffff:7f00:1]']) {
      const { report } = await fetched(host, `http://${name}:${server.port}/x`);
      expect(report, name).toMatchObject({ pull: 'failed', problem: { code: 'forbidden' } });
    }
    expect(server.requests).toHaveLength(0);
  });

  test('a percent sign in a password that is no escape was tried ten times as a fault of ours', async () => {
    await using host = await hostStage(linksWith(() => '127.0.0.1'));
    await using server = await urlServer((served) => serveBytes(served, bytes));
    const { report } = await fetched(host, `http://user:100%geheim@first.example:${server.port}/x`);
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'bad-request' } });
    expect(report.problem?.message).not.toContain('geheim');
    expect(host.waits).toEqual([]);
  });

  test('credentials of the URL stay with their host, and there is no Referer', async () => {
    await using host = await hostStage(linksWith(() => '127.0.0.1'));
    await using target = await urlServer((served) => serveBytes(served, bytes));
    await using server = await urlServer((served) => redirectTo(served, `http://other.example:${target.port}/x`));
    const { ref } = await fetched(host, `http://user:p%40ss@first.example:${server.port}/x`);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
    expect(server.requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from('user:p@ss').toString('base64')}`);
    for (const { headers } of target.requests) {
      expect(headers.authorization).toBeUndefined();
      expect(headers.referer).toBeUndefined();
    }
  });
});

describe('packed files', () => {
  test.each([
    ['gzip', gzipSync(bytes)],
    ['zstd', zstdCompressSync(bytes)],
  ])('%s is unpacked with auto; begun anew after a cut it doubles nothing', async (_, packed) => {
    await using host = await hostStage();
    const cuts = [Math.floor(packed.length / 3), Math.floor(packed.length / 2)];
    await using server = await urlServer((served) => {
      const cutAfter = served.request.headers.range === undefined ? cuts.shift() : undefined;
      serveBytes(served, packed, cutAfter === undefined ? {} : { cutAfter });
    });
    const { ref, report } = await fetched(host, server.url, { decompress: 'auto' });
    expect(report).toMatchObject({ pull: 'done', declaredSize: bytes.length, receivedBytes: bytes.length });
    expect(host.waits).toHaveLength(2);
    expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });

  test('with none they stay as they are, and what is not packed passes with auto', async () => {
    await using host = await hostStage();
    const packed = gzipSync(bytes);
    await using server = await urlServer((served) =>
      serveBytes(served, served.request.url === '/gz' ? packed : bytes, { ranges: false }),
    );
    const base = `http://127.0.0.1:${server.port}`;
    const asIs = await fetched(host, `${base}/gz`, { decompress: 'none' });
    expect((await contentOf(host, asIs.ref)).equals(packed)).toBe(true);
    const plain = await fetched(host, `${base}/plain`, { decompress: 'auto' });
    expect((await contentOf(host, plain.ref)).equals(bytes)).toBe(true);
  });

  test('a server that packs what it sends although it was asked not to: unpacked with auto, else refused', async () => {
    await using host = await hostStage();
    const answers: Readonly<Record<string, { readonly body: Buffer; readonly encoding: string }>> = {
      '/gzip': { body: gzipSync(bytes), encoding: 'GZIP' },
      '/zstd': { body: zstdCompressSync(bytes), encoding: 'zstd' },
      '/br': { body: brotliCompressSync(bytes.subarray(0, 1000)), encoding: 'br' },
      '/plain': { body: bytes, encoding: 'identity' },
    };
    for (const ranges of [true, false]) {
      await using server = await urlServer((served) => {
        const { body, encoding } = answers[served.request.url ?? ''] ?? { body: bytes, encoding: '' };
        serveBytes(served, body, { ranges, headers: { 'content-encoding': encoding } });
      });
      const base = `http://127.0.0.1:${server.port}`;
      for (const path of ['/gzip', '/zstd', '/plain']) {
        const { ref } = await fetched(host, base + path, { decompress: 'auto' });
        expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
      }
      expect(server.requests.every(({ headers }) => headers['accept-encoding'] === 'identity')).toBe(true);
      const asIs = await fetched(host, `${base}/plain`);
      expect((await contentOf(host, asIs.ref)).equals(bytes)).toBe(true);
      const said = { '/gzip': /asked not to. Have it unpacked on the way/, '/br': /content-encoding: br/ };
      for (const [path, message] of Object.entries(said)) {
        const { report } = await fetched(host, base + path);
        expect(report).toMatchObject({ pull: 'failed', problem: { code: 'unsupported' }, receivedBytes: 0 });
        expect(report.problem?.message).toMatch(message);
      }
      const { report } = await fetched(host, `${base}/br`, { decompress: 'auto' });
      expect(report).toMatchObject({ pull: 'failed', problem: { code: 'unsupported' } });
    }
  });

  test('files are unpacked by a few threads at once, whoever wants them; what is not packed does not wait', async () => {
    await using host = await hostStage();
    const packed = gzipSync(bytes);
    const held: (() => void)[] = [];
    await using server = await urlServer((served) => {
      const plain = served.request.url === '/plain';
      if (plain || served.request.headers.range !== undefined) return serveBytes(served, plain ? bytes : packed);
      held.push(() => serveBytes(served, packed));
    });
    const base = `http://127.0.0.1:${server.port}`;
    const all = Array.from({ length: 5 }, () => fetched(host, base, { decompress: 'auto' }));
    await expect.poll(() => held.length).toBe(2);
    // Every one of them has been probed, and three wait for their turn without a connection.
    await expect.poll(() => server.requests.filter(({ range }) => range !== undefined).length).toBe(5);
    const plain = await fetched(host, `${base}/plain`, { decompress: 'auto' });
    expect((await contentOf(host, plain.ref)).equals(bytes)).toBe(true);
    expect(held).toHaveLength(2);
    for (let answered = 0; answered < 5; answered++) {
      await expect.poll(() => held.length).toBeGreaterThan(answered);
      held[answered]?.();
    }
    for (const { ref } of await Promise.all(all)) expect((await contentOf(host, ref)).equals(bytes)).toBe(true);
  });

  test('a bomb is stopped by maxSize, with what the unpacked bytes are', async () => {
    await using host = await hostStage();
    const bomb = zstdCompressSync(Buffer.alloc(64 * MiB));
    await using server = await urlServer((served) => serveBytes(served, bomb));
    const { report } = await fetched(host, server.url, { decompress: 'auto', maxSize: 10 * MiB });
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'too-large' } });
    expect(report.receivedBytes).toBeLessThanOrEqual(10 * MiB);
    expect(host.slabs.inUse).toBe(0);
  });

  test('one that was cut off where it lies is corrupt, and is not tried again', async () => {
    await using host = await hostStage();
    const packed = gzipSync(bytes);
    await using server = await urlServer((served) => serveBytes(served, packed.subarray(0, packed.length - 20)));
    const { report } = await fetched(host, server.url, { decompress: 'auto' });
    expect(report).toMatchObject({ pull: 'failed', problem: { code: 'corrupt' } });
    expect(host.waits).toHaveLength(0);
  });
});

test('a paused upload waits, goes on when resumed, and ends with a discard', async () => {
  await using host = await hostStage();
  const gate = Promise.withResolvers<void>();
  await using server = await urlServer(async (served) => {
    if (served.count > 0) await gate.promise;
    serveBytes(served, bytes);
  });
  const ref = await host.open();
  const { uploadId, generation } = ref;
  await host.pull(ref, from(server.url));
  await host.until(ref, ({ declaredSize }) => declaredSize !== null);
  await host.agent.call('pauseUpload', { uploadId, generation });
  gate.resolve();
  await host.until(ref, ({ pull }) => pull === 'waiting');
  await host.agent.call('resumeUpload', { uploadId, generation });
  expect(await host.until(ref, ended)).toMatchObject({ pull: 'done', state: 'open' });
  await host.agent.call('discardUpload', { uploadId, generation });
  const again = await host.open();
  expect((await host.agent.call('stopPull', { uploadId: again.uploadId, generation })).pull).toBeNull();
});

test('an agent that stops does not wait for a lookup that never comes back', async () => {
  const asked = Promise.withResolvers<void>();
  const resolve = () => {
    asked.resolve();
    return new Promise<never>(() => {});
  };
  const guard = addressGuard({ allow: [], own: () => [] });
  await using host = await hostStage({
    openUrl: openUrls({ guard, resolve, now: () => new Date(), passed: () => {} }),
  });
  const ref = await host.open();
  await host.pull(ref, from('http://slow.example/x'));
  await asked.promise;
  await host.restart();
});

function lengthOf(range: string | undefined): number {
  const match = /^bytes=(\d+)-(\d+)$/.exec(range ?? '');
  return match === null ? 0 : Number(match[2]) - Number(match[1]) + 1;
}
