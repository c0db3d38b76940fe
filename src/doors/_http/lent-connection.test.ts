import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { pino } from 'pino';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { MoveEvents, MoveRequest, Mover } from '../../core/mover.ts';
import { rangeEnd } from '../../core/range.ts';
import { receiveBody } from '../../engine/receive.ts';
import { makeRig, type Rig, sourceOf, treeOf } from '../../engine/testing/rig.ts';
import { ownTlsKeys, type TlsKeys } from '../../host/tls.ts';
import { openSocketMover } from '../../native/socket-mover.ts';
import { openFileStore } from '../../stores/file/store.ts';
import type { Store } from '../../stores/store.ts';
import { bodySource } from './body-source.ts';
import { createLingering, usualLinger } from './lingering.ts';
import { createSecureServer } from './secure-server.ts';
import { createServer as createListener } from './server.ts';

const MiB = 1024 * 1024;

/** A real mover, and what it was asked for. */
class WatchedMover implements Mover {
  readonly requests: MoveRequest[] = [];
  moved = 0;
  readonly #mover: Mover;

  constructor(mover: Mover) {
    this.#mover = mover;
  }

  begin(request: MoveRequest, events: MoveEvents) {
    this.requests.push(request);
    return this.#mover.begin(request, {
      moved: (segments) => {
        for (const { length } of segments) this.moved += length;
        events.moved(segments);
      },
      ended: events.ended,
    });
  }
}

interface Stage {
  readonly rig: Rig;
  readonly mover: WatchedMover;
  readonly errors: unknown[];
  readonly stop: AbortController;
  connect(): Promise<Client>;
}

let keys: TlsKeys;
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-lent-'));
  await mkdir(join(folder, 'keys'));
  keys = await ownTlsKeys((...parts) => join(folder, ...parts), new Date());
  await rm(folder, { recursive: true });
});

/** A server that takes `PUT` with `x-offset` into one object, and answers everything with a line of text. */
async function givenServer(tls: boolean, wrap: (store: Store) => Store = (store) => store): Promise<Stage> {
  const real = openSocketMover();
  if (real === undefined) throw new Error('this machine has no mover');
  onTestFinished(() => real[Symbol.asyncDispose]());
  const mover = new WatchedMover(real);
  const rig = await makeRig(24, async (path) => wrap(await openFileStore({ name: 'test', path })), mover);
  onTestFinished(() => rig[Symbol.asyncDispose]());
  const errors: unknown[] = [];
  const stop = new AbortController();
  const put = async (request: IncomingMessage, response: ServerResponse) => {
    await Promise.resolve();
    const offset = Number(request.headers['x-offset'] ?? 0);
    const length = Number(request.headers['content-length']);
    try {
      const got = await receiveBody(rig, { offset, length, end: null }, bodySource(request), stop.signal);
      response.end(`took ${got}\n`);
    } catch (error) {
      errors.push(error);
      response.writeHead(isHawserError(error, 'cancelled') ? 409 : 500, { 'x-unread': String(!request.complete) });
      response.end('failed\n');
    }
  };
  const lingering = createLingering(usualLinger);
  const options = { ServerResponse: lingering.response };
  const server = tls ? createSecureServer(options, keys) : createServer(options);
  server.on('request', (request, response) => {
    if (request.method === 'PUT') void put(request, response);
    else response.end(`${request.method} ${request.url}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { rig, mover, errors, stop, connect: () => Client.open(port, tls) };
}

class Client {
  readonly socket: Socket;
  /** Without TLS. */
  readonly below: Socket;
  #text = '';
  readonly #watchers = new Set<() => void>();
  /** How the server ended it. */
  readonly closed: Promise<'end' | 'reset'>;

  private constructor(socket: Socket, below: Socket) {
    this.socket = socket;
    this.below = below;
    this.closed = new Promise((resolve) =>
      socket.once('end', () => resolve('end')).once('error', () => resolve('reset')),
    );
    const tell = () => {
      for (const watcher of this.#watchers) watcher();
    };
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1');
      tell();
    });
    socket.on('close', tell);
  }

  static async open(port: number, tls = false): Promise<Client> {
    const below = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    const socket = tls ? connectTls({ socket: below, ca: keys.cert, servername: 'localhost' }) : below;
    await new Promise<void>((resolve, reject) =>
      socket.once(tls ? 'secureConnect' : 'connect', resolve).once('error', reject),
    );
    onTestFinished(() => void socket.destroy());
    return new Client(socket, below);
  }

  write(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    return new Promise((resolve) => {
      if (!this.socket.write(Buffer.concat(parts.map((part) => Buffer.from(part)))) && !this.socket.destroyed) {
        this.socket.once('drain', resolve).once('close', () => resolve());
      } else resolve();
    });
  }

  until(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (pattern.test(this.#text)) resolve(this.#text);
        else if (this.socket.destroyed) reject(new Error(`closed without ${pattern}: ${this.#text}`));
        else return;
        this.#watchers.delete(look);
      };
      this.#watchers.add(look);
      look();
    });
  }
}

function head(length: number, offset = 0): string {
  return `PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\nx-offset: ${offset}\r\n\r\n`;
}

async function stored({ rig }: Stage, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await rig.incoming.writer.read(bytes, 0);
  return bytes;
}

function soon(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 30_000 });
}

/** Seconds: it is the mover that decides when. */
function landed({ rig }: Stage, bytes: number): Promise<void> {
  return vi.waitFor(() => expect(rig.incoming.received.all.bytes).toBe(bytes), { timeout: 30_000 });
}

async function expectContent(stage: Stage, bytes: Buffer): Promise<void> {
  const { incoming } = stage.rig;
  expect([...incoming.received.all]).toEqual([{ offset: 0, length: bytes.length }]);
  expect((await stored(stage, bytes.length)).equals(bytes)).toBe(true);
  expect((await incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
  expect(stage.rig.means.slabs.inUse).toBe(0);
}

const sizes = [2 * MiB, 2 * MiB + 1, 3 * MiB - 1, 5 * MiB + 65_537, 17 * MiB + 12_345];

describe.each(['plain', 'TLS'])('%s', (way) => {
  const given = (wrap?: (store: Store) => Store) => givenServer(way === 'TLS', wrap);

  test.each(sizes)('a body of %i bytes with requests before and behind it, in one connection', async (size) => {
    const stage = await given();
    const bytes = randomBytes(size);
    const client = await stage.connect();
    for (const round of [1, 2]) {
      const before = `GET /before${round} HTTP/1.1\r\nhost: x\r\n\r\n`;
      const behind = `GET /behind${round} HTTP/1.1\r\nhost: x\r\n\r\nGET /last${round} HTTP/1.1\r\nhost: x\r\n\r\n`;
      void client.write(before, head(size), bytes, behind);
      const text = await client.until(new RegExp(`GET /last${round}\n`));
      expect(text.match(/^(GET|took) .*$/gm)?.slice(-4)).toEqual([
        `GET /before${round}`,
        `took ${size}`,
        `GET /behind${round}`,
        `GET /last${round}`,
      ]);
    }
    // The second one found all of it received and was compared on the ordinary path.
    expect(stage.mover.moved).toBe(size);
    expect(stage.mover.requests).toHaveLength(1);
    await expectContent(stage, bytes);
  });

  test.each([1, 700, 65_535, 300_000])('head and body cut into pieces of %i bytes lose none', async (piece) => {
    const stage = await given();
    const size = piece === 1 ? 2 * MiB : 6 * MiB + 3;
    const bytes = randomBytes(size);
    const client = await stage.connect();
    const all = Buffer.concat([Buffer.from(head(size)), bytes, Buffer.from('GET /behind HTTP/1.1\r\nhost: x\r\n\r\n')]);
    // The first and the last of it byte by byte or so: where the connection changes hands.
    const edges = new Set([200, all.length - 60]);
    for (let at = 0; at < all.length; ) {
      const length = edges.has(at) ? piece : at < 200 ? Math.min(piece, 200 - at) : Math.max(piece, 65_536);
      await client.write(all.subarray(at, Math.min(at + length, all.length)));
      at += length;
    }
    await client.until(/GET \/behind\n/);
    expect(stage.mover.moved).toBe(size);
    await expectContent(stage, bytes);
  });

  test('bursts with silence between them', async () => {
    const stage = await given();
    const bytes = randomBytes(4 * MiB + 100);
    const client = await stage.connect();
    await client.write(head(bytes.length));
    for (let at = 0; at < bytes.length; at += 1_700_000) {
      const end = Math.min(at + 1_700_000, bytes.length);
      await client.write(bytes.subarray(at, end));
      if (end < bytes.length) await landed(stage, end);
    }
    await client.until(/took 4194404\n/);
    expect(stage.mover.moved).toBe(bytes.length);
    await expectContent(stage, bytes);
  });

  test('what a stalled client sent counts within seconds, and its slab is free', async () => {
    const stage = await given();
    const bytes = randomBytes(4 * MiB);
    const client = await stage.connect();
    await client.write(head(bytes.length), bytes.subarray(0, 100_000));
    await landed(stage, 100_000);
    await client.write(bytes.subarray(100_000));
    await client.until(/took 4194304\n/);
    await expectContent(stage, bytes);
  });

  test('zeros are not written', async () => {
    const stage = await given();
    const bytes = Buffer.concat([randomBytes(MiB), Buffer.alloc(3 * MiB), randomBytes(10), Buffer.alloc(MiB)]);
    const client = await stage.connect();
    void client.write(head(bytes.length), bytes);
    await client.until(/took \d+\n/);
    expect(stage.rig.incoming.received.zeros.bytes).toBe(3 * MiB + 10);
    await expectContent(stage, bytes);
  });

  test('connections side by side, at odd offsets', async () => {
    const stage = await given();
    const bytes = randomBytes(24 * MiB + 77);
    const cuts = [0, 5 * MiB + 3, 11 * MiB, 12 * MiB + 999, 19 * MiB + 1, bytes.length];
    await Promise.all(
      cuts.slice(1).map(async (end, i) => {
        const begin = cuts[i] ?? 0;
        const client = await stage.connect();
        void client.write(head(end - begin, begin), bytes.subarray(begin, end));
        await client.until(new RegExp(`took ${end - begin}\n`));
      }),
    );
    expect(stage.mover.requests.length).toBe(4);
    await expectContent(stage, bytes);
  });

  test('a connection that breaks leaves what arrived, and the rest can be sent', async () => {
    const stage = await given();
    const bytes = randomBytes(6 * MiB);
    for (const how of ['reset', 'end'] as const) {
      const at = rangeEnd([...stage.rig.incoming.received.all].at(-1) ?? { offset: 0, length: 0 });
      const client = await stage.connect();
      await client.write(head(bytes.length - at, at), bytes.subarray(at, at + 1_500_000));
      await landed(stage, at + 1_500_000);
      if (how === 'reset') client.below.resetAndDestroy();
      else client.socket.end();
      await soon(() => expect(stage.errors.splice(0)).toMatchObject([{ code: 'connection-lost' }]));
    }
    const client = await stage.connect();
    void client.write(head(bytes.length - 3_000_000, 3_000_000), bytes.subarray(3_000_000));
    await client.until(/took \d+\n/);
    await expectContent(stage, bytes);
  });

  test('who is stopped in the middle keeps what arrived; the answer says so and the connection is read to its end', async () => {
    const stage = await given();
    const bytes = randomBytes(5 * MiB);
    const client = await stage.connect();
    await client.write(head(bytes.length), bytes.subarray(0, 2 * MiB));
    await landed(stage, 2 * MiB);
    stage.stop.abort(new HawserError('cancelled', 'stopped'));
    expect(await client.until(/409 Conflict[\s\S]*connection: close/i)).toContain('x-unread: true');
    expect(stage.rig.means.slabs.inUse).toBe(0);
    await client.write(bytes.subarray(2 * MiB));
    expect(await client.closed).toBe('end');
    expect(stage.rig.incoming.received.all.bytes).toBe(2 * MiB);
  });

  test('another who sends the same range does not wait for one that stalls', async () => {
    const stage = await given();
    const bytes = randomBytes(5 * MiB);
    const stalled = await stage.connect();
    await stalled.write(head(bytes.length), bytes.subarray(0, 1_300_000));
    await soon(() => expect(stage.mover.requests.length).toBe(1));
    const other = await stage.connect();
    void other.write(head(bytes.length), bytes);
    await other.until(/took 5242880\n/);
    void stalled.write(bytes.subarray(1_300_000));
    await stalled.until(/took 5242880\n/);
    await expectContent(stage, bytes);
    const liar = await stage.connect();
    void liar.write(head(bytes.length), randomBytes(5 * MiB));
    await liar.until(/500 Internal/);
    expect(stage.errors).toMatchObject([{ code: 'range-conflict' }]);
  });

  test('a file that takes no bytes is asked again on the ordinary path, which says why', async () => {
    const stage = await given((store) => {
      const create = store.create.bind(store);
      store.create = async (request) => {
        const writer = await create(request);
        const lend = writer.lend?.bind(writer);
        writer.lend = async (range) => {
          const file = await lend?.(range);
          // Of a file that is open for reading alone.
          const fd = openSync(import.meta.filename, 'r');
          onTestFinished(() => closeSync(fd));
          return file && { fd, wrote: file.wrote, giveBack: file.giveBack };
        };
        return writer;
      };
      return store;
    });
    const bytes = randomBytes(5 * MiB + 1);
    const client = await stage.connect();
    void client.write(head(bytes.length), bytes, 'GET /next HTTP/1.1\r\nhost: x\r\n\r\n');
    await client.until(/GET \/next\n/);
    expect(stage.mover.requests.length).toBe(1);
    expect(stage.mover.moved).toBe(0);
    await expectContent(stage, bytes);
  });

  test('a hundred slow clients do not hold up a fast one', async () => {
    const stage = await given();
    const bytes = randomBytes(16 * MiB);
    const slow = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const client = await stage.connect();
        await client.write(head(3 * MiB, (i + 10) * 4 * MiB), randomBytes(10_000));
        return client;
      }),
    );
    await soon(() => expect(stage.mover.requests.length).toBe(100));
    const fast = await stage.connect();
    void fast.write(head(bytes.length), bytes);
    await fast.until(/took 16777216\n/);
    expect(stage.mover.moved).toBeGreaterThanOrEqual(16 * MiB);
    for (const client of slow) client.socket.destroy();
    await soon(() => expect(stage.rig.means.slabs.inUse).toBe(0));
  });

  test('two bodies at once of the ordinary path and of the mover', async () => {
    const stage = await given();
    const bytes = randomBytes(9 * MiB);
    const client = await stage.connect();
    void client.write(head(5 * MiB), bytes.subarray(0, 5 * MiB));
    const ordinary = receiveBody(
      stage.rig,
      { offset: 5 * MiB, length: 4 * MiB, end: null },
      sourceOf(bytes.subarray(5 * MiB)),
      new AbortController().signal,
    );
    await client.until(/took 5242880\n/);
    expect(await ordinary).toBe(4 * MiB);
    await expectContent(stage, bytes);
  });
});

/** The listener that doors get; a route lends the connection, gives it back untouched and reads the body. */
async function listening(tls?: TlsKeys) {
  const app = createListener({ log: pino({ level: 'silent' }), randomId: () => 'id', tls });
  onTestFinished(() => app.close());
  const { promise: returned, resolve } = Promise.withResolvers<void>();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));
  app.put('/', { config: { ownsBody: true } as object }, async (request) => {
    const source = bodySource(request.raw);
    const connection = source.lend?.();
    connection?.giveBack();
    resolve();
    let text = '';
    const take = (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString();
      return undefined;
    };
    await source.drain(take, new AbortController().signal);
    return { lent: connection !== undefined, text };
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  return { port: (app.server.address() as AddressInfo).port, returned };
}

test('a connection is lent where its bytes are the body, and what is not taken comes all the same', async () => {
  const { port, returned } = await listening();
  const client = await Client.open(port);
  await client.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234');
  await returned;
  await client.write('56789');
  await client.until(/\{"lent":true,"text":"0123456789"\}$/);
  await client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n');
  await client.write('0\r\n\r\n');
  await client.until(/\{"lent":false,"text":"01234"\}$/);
});

test('a connection behind TLS is lent with its session', async () => {
  const { port, returned } = await listening(keys);
  const socket = connectTls({ host: '127.0.0.1', port, ca: keys.cert, servername: 'localhost' });
  onTestFinished(() => void socket.destroy());
  const answered = new Promise<string>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => /\}$/.test(chunk.toString()) && resolve(chunk.toString())).on('error', reject);
  });
  socket.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234');
  await returned;
  socket.write('56789');
  expect(await answered).toContain('{"lent":true,"text":"0123456789"}');
});
