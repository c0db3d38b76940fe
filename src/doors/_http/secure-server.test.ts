import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer as createNodeServer, request } from 'node:https';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { ownTlsKeys, type TlsKeys } from '../../host/tls.ts';
import { OwnTls } from '../../native/own-tls.ts';
import { tlsServer } from '../../native/tls-session.ts';
import { createSecureServer, renewKeys } from './secure-server.ts';

let keys: TlsKeys;
let others: TlsKeys;
beforeAll(async () => {
  const made = [0, 1].map(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hawser-secure-'));
    await mkdir(join(folder, 'keys'));
    const one = await ownTlsKeys((...parts) => join(folder, ...parts), new Date());
    await rm(folder, { recursive: true });
    return one;
  });
  const [one, other] = await Promise.all(made);
  if (one === undefined || other === undefined) throw new Error('no keys');
  keys = one;
  others = other;
});

interface Stage {
  readonly port: number;
  /** Connections that are open. */
  open(): number;
  get(path: string, options?: ConnectionOptions & { readonly agent?: Agent }): Promise<string>;
}

/** Answers with what it sees of a request; `/large` with 3 MiB. */
async function given(): Promise<Stage> {
  const server = createSecureServer({}, keys);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', (asked, response) => {
    if (asked.url === '/large') return response.end(large);
    void text(asked).then((body) => {
      const { remoteAddress } = asked.socket;
      response.end(`${asked.method} ${asked.url} ${body.length} ${'encrypted' in asked.socket} ${remoteAddress}\n`);
    }, ignore);
  });
  server.on('upgrade', (_asked, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
    socket.pipe(socket);
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    open: () => sockets.size,
    get: (path, options = {}) =>
      new Promise((resolve, reject) => {
        const to = { host: '127.0.0.1', port, path, ca: keys.cert, agent: false, ...options };
        request(to, (answer) => resolve(text(answer)))
          .on('error', reject)
          .end();
      }),
  };
}

/** Whose client went away has nobody to answer. */
const ignore = () => {};

const large = 'x'.repeat(3 * 1024 * 1024);

function client(port: number, options: ConnectionOptions = {}): TLSSocket {
  const socket = connect({ host: '127.0.0.1', port, ca: keys.cert, ...options });
  onTestFinished(() => void socket.destroy());
  return socket;
}

test('this program has sessions of its own, and takes no keys that do not go together', () => {
  expect(tlsServer(keys)).toBeDefined();
  for (const wrong of [
    { cert: keys.cert, key: others.key },
    { cert: '', key: keys.key },
    { cert: keys.cert, key: '' },
    { cert: 'no certificate', key: 'no key' },
  ]) {
    expect(tlsServer(wrong)).toBeUndefined();
  }
  expect(() => createSecureServer({}, { cert: keys.cert, key: others.key })).toThrow(/key values mismatch/);
});

test('a renewed certificate is what the next connection sees; wrong keys change nothing', async () => {
  const servers = [createSecureServer({}, keys), createNodeServer(keys)];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const shown = async () => {
      const socket = client(port, { rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { raw } = socket.getPeerCertificate();
      socket.destroy();
      return raw;
    };
    expect(await shown()).toEqual(new X509Certificate(keys.cert).raw);
    renewKeys(server, others);
    expect(await shown()).toEqual(new X509Certificate(others.cert).raw);
    expect(() => renewKeys(server, { cert: keys.cert, key: others.key })).toThrow(/key values mismatch/);
    expect(await shown()).toEqual(new X509Certificate(others.cert).raw);
  }
  expect(() => renewKeys(createServer(), keys)).toThrow(/no TLS/);
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)('requests and answers by %s, small and large', async (version) => {
  const stage = await given();
  const only = { minVersion: version, maxVersion: version };
  expect(await stage.get('/a', only)).toBe('GET /a 0 true 127.0.0.1\n');
  expect(await stage.get('/large', only)).toBe(large);
  const socket = client(stage.port, only);
  await once(socket, 'secureConnect');
  expect([socket.getProtocol(), socket.authorized]).toEqual([version, true]);
});

test('older versions are refused', async () => {
  const stage = await given();
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  await expect(stage.get('/', old)).rejects.toThrow(/protocol version|EPROTO|ECONNRESET/);
  expect(await stage.get('/after')).toContain('GET /after');
});

test('those that lead to the authority are shown as well', async () => {
  const server = createSecureServer({}, { cert: `${keys.cert}${others.cert}`, key: keys.key });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const raw: Buffer[] = [];
  const between = createServer((socket) => {
    const below = connectPlain((server.address() as AddressInfo).port, '127.0.0.1');
    below.on('data', (chunk: Buffer) => raw.push(chunk));
    socket.pipe(below).pipe(socket);
  });
  between.listen(0, '127.0.0.1');
  await once(between, 'listening');
  onTestFinished(() => void between.close());
  const socket = client((between.address() as AddressInfo).port, { maxVersion: 'TLSv1.2' });
  await once(socket, 'secureConnect');
  // In TLS 1.2 certificates are sent in the clear.
  const der = (pem: string) => Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64');
  for (const { cert } of [keys, others]) expect(Buffer.concat(raw).includes(der(cert))).toBe(true);
});

test('connections are kept, also for requests sent before the answer; sessions are resumed', async () => {
  const stage = await given();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  for (const path of ['/1', '/2', '/large', '/3']) expect(await stage.get(path, { agent })).toMatch(/GET|x/);
  expect(stage.open()).toBe(1);
  const socket = client(stage.port, { maxVersion: 'TLSv1.2' });
  const session = once(socket, 'session');
  socket.write('GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc');
  let said = '';
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await vi.waitFor(() => expect(said).toMatch(/GET \/a 0[\s\S]*POST \/b 3/), { timeout: 30_000 });
  const [kept] = (await session) as [Buffer];
  const again = client(stage.port, { maxVersion: 'TLSv1.2', session: kept });
  await once(again, 'secureConnect');
  expect(again.isSessionReused()).toBe(true);
});

test('protocols that take the connection over', async () => {
  const socket = client((await given()).port);
  socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
  await once(socket, 'data');
  const bytes = randomBytes(700_000);
  const echoed: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => echoed.push(chunk));
  socket.end(bytes);
  await once(socket, 'end');
  expect(Buffer.concat(echoed).equals(bytes)).toBe(true);
});

test('whatever is sent instead of TLS ends that connection and no other', async () => {
  const stage = await given();
  const hello = await firstBytes();
  const noise = fc.oneof(
    fc.uint8Array({ maxLength: 2000 }),
    fc.constant(Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')),
    // A handshake that is cut off or damaged.
    fc.nat(hello.length).map((length) => hello.subarray(0, length)),
    fc.tuple(fc.nat(hello.length - 1), fc.nat(255)).map(([at, value]) => {
      const damaged = Buffer.from(hello);
      damaged[at] = value;
      return damaged;
    }),
  );
  await fc.assert(
    fc.asyncProperty(noise, fc.boolean(), async (bytes, politely) => {
      const socket = connectPlain(stage.port, '127.0.0.1');
      socket.on('error', () => {}).on('data', () => {});
      await once(socket, 'connect');
      const closed = once(socket, 'close');
      if (politely) socket.end(bytes);
      else socket.write(bytes, () => socket.resetAndDestroy());
      await closed;
    }),
    { numRuns: 200 },
  );
  await vi.waitFor(() => expect(stage.open()).toBe(0), { timeout: 30_000 });
  expect(await stage.get('/after')).toContain('GET /after');
});

/** What a client says first. */
async function firstBytes(): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const asking = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  asking.on('error', () => {});
  const [socket] = await accepted;
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  asking.destroy();
  socket.destroy();
  return bytes;
}

test('damaged records in the middle end the connection; goodbyes and cuts leave nothing', async () => {
  const stage = await given();
  for (const how of ['damage', 'reset', 'end'] as const) {
    const below = connectPlain(stage.port, '127.0.0.1');
    const socket = client(stage.port, { socket: below });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc');
    await vi.waitFor(() => expect(stage.open()).toBe(1), { timeout: 30_000 });
    const closed = once(below, 'close');
    if (how === 'damage') below.write(Buffer.concat([Buffer.from([23, 3, 3, 0, 100]), randomBytes(100)]));
    else if (how === 'reset') below.resetAndDestroy();
    else socket.end();
    await closed;
    await vi.waitFor(() => expect(stage.open()).toBe(0), { timeout: 30_000 });
  }
  expect(await stage.get('/after')).toContain('GET /after');
});

test('what was sent before the end comes before the end, also to one who is slow', async () => {
  const accept = tlsServer(keys);
  if (accept === undefined) throw new Error('no TLS');
  const bytes = randomBytes(3 * 1024 * 1024);
  const { promise: got, resolve, reject } = Promise.withResolvers<Buffer>();
  const server = createServer((socket) => {
    const chunks: Buffer[] = [];
    const collect = async () => {
      for await (const chunk of new OwnTls(accept(), socket)) {
        chunks.push(chunk);
        await new Promise((goOn) => setTimeout(goOn, 1));
      }
      return Buffer.concat(chunks);
    };
    collect().then(resolve, reject);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  client((server.address() as AddressInfo).port).end(bytes);
  expect((await got).equals(bytes)).toBe(true);
});

test('a connection that does not become secure in time is closed', async () => {
  const accept = tlsServer(keys);
  if (accept === undefined) throw new Error('no TLS');
  const server = createServer((socket) => new OwnTls(accept(), socket, { handshakeMs: 50 }).on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const socket = connectPlain((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'close');
});

test('answers wait for a client that does not read', async () => {
  const stage = await given();
  const socket = client(stage.port);
  await once(socket, 'secureConnect');
  socket.pause();
  const asked = 20;
  socket.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(asked));
  await new Promise((resolve) => setTimeout(resolve, 200));
  let got = 0;
  socket.on('data', (chunk: Buffer) => {
    got += chunk.length;
  });
  socket.resume();
  await vi.waitFor(() => expect(got).toBeGreaterThan(asked * large.length), { timeout: 60_000 });
});
