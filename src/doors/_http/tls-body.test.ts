import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { type AddressInfo, connect as connectPlain, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { ownTlsKeys, type TlsKeys } from '../../host/tls.ts';
import { bodySource } from './body-source.ts';
import { createLingering, usualLinger } from './lingering.ts';

const MiB = 1024 * 1024;
const RECORD = 16 * 1024;

let keys: TlsKeys;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-tls-body-'));
  await mkdir(join(folder, 'keys'));
  keys = await ownTlsKeys((...parts) => join(folder, ...parts), new Date());
  await rm(folder, { recursive: true });
});

/** How a body is taken: after which of the chunks, or after how many bytes, the taker is busy, and for how many turns of the loop. */
interface Manner {
  readonly busyEvery?: number;
  readonly busyAt?: number;
  readonly turns?: number;
  readonly failAt?: number;
  readonly idleMs?: number;
  readonly stop?: AbortSignal;
  readonly change?: (socket: TLSSocket) => void;
}

interface Stage {
  readonly port: number;
  readonly bodies: Map<string, Buffer>;
  readonly errors: unknown[];
  /** Bytes that came through the buffer of a connection. */
  direct: number;
  readonly sockets: Set<Socket>;
  connect(fragment?: number): Promise<Client>;
}

async function given(manner: Manner = {}): Promise<Stage> {
  const lingering = createLingering(usualLinger);
  const server = createServer({ ...keys, ServerResponse: lingering.response }, (request, response) => {
    if (request.method === 'PUT') void put(stage, manner, request, response);
    else response.end(`${request.method} ${request.url}\n`);
  });
  server.on('upgrade', (_request, socket: Socket, head: Buffer) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
    socket.write(head);
    socket.pipe(socket);
  });
  server.on('secureConnection', (socket: TLSSocket) => manner.change?.(socket));
  server.on('connection', (socket: Socket) => {
    stage.sockets.add(socket);
    socket.once('close', () => stage.sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const stage: Stage = {
    port,
    bodies: new Map(),
    errors: [],
    direct: 0,
    sockets: new Set(),
    connect: (fragment) => Client.open(port, fragment),
  };
  return stage;
}

async function put(stage: Stage, manner: Manner, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  let chunks = 0;
  let bytes = 0;
  const take = (chunk: Uint8Array): Promise<void> | undefined => {
    if (chunks === manner.failAt) throw new HawserError('cancelled', 'enough');
    if (chunk.buffer === bufferOf(request)) stage.direct += chunk.length;
    const at = parts.push(Buffer.alloc(0)) - 1;
    const keep = () => {
      parts[at] = Buffer.from(chunk);
    };
    bytes += chunk.length;
    const busy = bytes === manner.busyAt || (manner.busyEvery !== undefined && ++chunks % manner.busyEvery === 0);
    if (!busy) return void keep();
    return turns(manner.turns ?? 1).then(keep);
  };
  try {
    await bodySource(request, manner.idleMs).drain(take, manner.stop ?? new AbortController().signal);
    stage.bodies.set(`${request.url}`, Buffer.concat(parts));
    response.end(`took ${request.url} ${bytes}\n`);
  } catch (error) {
    stage.bodies.set(`${request.url}`, Buffer.concat(parts));
    stage.errors.push(error);
    response.writeHead(isHawserError(error, 'cancelled') ? 409 : 500);
    response.end('failed\n');
  }
}

/** Where the connection has its body read to, if anywhere. */
function bufferOf({ socket }: IncomingMessage): unknown {
  const buffer: unknown = Reflect.get(socket, keyOf(socket, 'kBuffer'));
  return Buffer.isBuffer(buffer) ? buffer.buffer : undefined;
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

class Client {
  readonly plain: Socket;
  readonly socket: TLSSocket;
  readonly ended: Promise<unknown>;
  text = '';

  private constructor(plain: Socket, socket: TLSSocket) {
    this.plain = plain;
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    this.ended = new Promise((resolve) => socket.once('end', resolve));
  }

  static async open(port: number, fragment = RECORD): Promise<Client> {
    const plain = connectPlain({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    onTestFinished(() => void plain.destroy());
    const options = { socket: plain, ca: keys.cert, servername: 'localhost', allowHalfOpen: true };
    const socket = connect(options);
    await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    socket.setMaxSendFragment(fragment);
    return new Client(plain, socket);
  }

  write(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))), () => resolve());
    });
  }

  until(pattern: RegExp): Promise<void> {
    return vi.waitFor(() => expect(this.text).toMatch(pattern), { timeout: 30_000, interval: 5 });
  }
}

function head(path: string, length: number, more = ''): string {
  return `PUT ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n${more}\r\n`;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;

test.each([MiB - 1, MiB, MiB + 1, 4 * MiB, 9 * MiB + 12_345])(
  'a body of %i bytes with requests before and behind it, twice in one connection',
  async (size) => {
    const stage = await given();
    const bytes = randomBytes(size);
    const client = await stage.connect();
    for (const round of [1, 2]) {
      void client.write(get(`/before${round}`), head(`/${round}`, size), bytes, get(`/behind${round}`), get(`/last`));
      await client.until(new RegExp(`took /${round} ${size}\n[^]*GET /behind${round}\n[^]*GET /last\n$`));
    }
    for (const path of ['/1', '/2']) expect(stage.bodies.get(path)?.equals(bytes)).toBe(true);
    // What came along with the head went through the parser.
    if (size < MiB) expect(stage.direct).toBe(0);
    else expect(stage.direct).toBeGreaterThan(2 * (size - 100_000));
  },
);

test('whoever is busy holds the body back, and what it has is not written over', async () => {
  for (const [busyEvery, turns] of [
    [1, 1],
    [3, 20],
    [7, 0],
  ] as const) {
    const stage = await given({ busyEvery, turns });
    const bytes = randomBytes(5 * MiB + 4321);
    const client = await stage.connect();
    void client.write(head('/a', bytes.length), bytes, get('/behind'));
    await client.until(/took \/a \d+\n[\s\S]*GET \/behind\n$/);
    expect(stage.bodies.get('/a')?.equals(bytes)).toBe(true);
    expect(stage.direct).toBeGreaterThan(MiB);
  }
});

test('whatever the records, the pieces and the taker are like, bodies and requests come whole and in order', async () => {
  const piece = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1000, max: 400_000 }));
  const body = fc.oneof(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: MiB - 20, max: 2 * MiB }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(body, { minLength: 1, maxLength: 4 }),
      fc.array(piece, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 512, max: RECORD }),
      fc.record(
        { busyEvery: fc.integer({ min: 1, max: 40 }), turns: fc.integer({ min: 0, max: 5 }) },
        { requiredKeys: ['turns'] },
      ),
      async (sizes, pieces, fragment, manner) => {
        const stage = await given(manner);
        const client = await stage.connect(fragment);
        const bodies = sizes.map((size) => randomBytes(size));
        const all = Buffer.concat(
          bodies.flatMap((bytes, i) => [Buffer.from(head(`/${i}`, bytes.length)), bytes, Buffer.from(get(`/g${i}`))]),
        );
        for (let at = 0, i = 0; at < all.length; i++) {
          // The small ones where things change hands; else it would take all day.
          const length = i < 2 * pieces.length ? (pieces[i % pieces.length] ?? 1) : 300_000;
          await client.write(all.subarray(at, at + length));
          at += length;
        }
        await client.until(new RegExp(`GET /g${sizes.length - 1}\n$`));
        expect(client.text.match(/^(GET|took) .*$/gm)).toEqual(
          sizes.flatMap((size, i) => [`took /${i} ${size}`, `GET /g${i}`]),
        );
        for (const [i, bytes] of bodies.entries()) expect(stage.bodies.get(`/${i}`)?.equals(bytes)).toBe(true);
        client.plain.destroy();
        await vi.waitFor(() => expect(stage.sockets.size).toBe(0), { timeout: 30_000, interval: 5 });
      },
    ),
    { numRuns: 20, endOnFailure: true },
  );
});

test('what the taker of one body still has, the next body on the connection does not write over', async () => {
  const stage = await given({ busyAt: MiB, turns: 200 });
  const [first, second] = [randomBytes(MiB), randomBytes(3 * MiB)];
  const client = await stage.connect();
  void client.write(head('/first', first.length), first, head('/second', second.length), second);
  await client.until(/took \/first [\s\S]*took \/second /);
  expect(stage.bodies.get('/first')?.equals(first)).toBe(true);
  expect(stage.bodies.get('/second')?.equals(second)).toBe(true);
});

test('a client that says goodbye with the last byte of its body gets its answer', async () => {
  const stage = await given();
  const bytes = randomBytes(4 * MiB + 99);
  const client = await stage.connect();
  client.socket.end(Buffer.concat([Buffer.from(head('/a', bytes.length)), bytes]));
  await client.until(/took \/a \d+\n/);
  expect(stage.bodies.get('/a')?.equals(bytes)).toBe(true);
  expect(stage.errors).toEqual([]);
});

test.each(['reset', 'end', 'vanish', 'garbage'] as const)('a body that breaks off: %s', async (how) => {
  for (const busyEvery of [undefined, 2]) {
    const stage = await given({ ...(busyEvery === undefined ? {} : { busyEvery }), idleMs: 30_000 });
    const bytes = randomBytes(3 * MiB);
    const client = await stage.connect();
    await client.write(head('/a', bytes.length), bytes.subarray(0, MiB + 77));
    if (how === 'reset') client.plain.resetAndDestroy();
    if (how === 'end') client.socket.end();
    if (how === 'vanish') client.plain.destroy();
    if (how === 'garbage') client.plain.write(randomBytes(100_000));
    await vi.waitFor(() => expect(stage.sockets.size).toBe(0), { timeout: 30_000, interval: 5 });
    await vi.waitFor(() => expect(stage.errors).toMatchObject([{ code: 'connection-lost' }]), { timeout: 30_000 });
    const got = stage.bodies.get('/a') ?? Buffer.alloc(0);
    expect(got.equals(bytes.subarray(0, got.length))).toBe(true);
    // Whatever had come was handed over before, but for a reset.
    if (how === 'end') expect(got.length).toBe(MiB + 77);
  }
});

test('a client that stalls is given up after its time', async () => {
  const stage = await given({ idleMs: 200 });
  const client = await stage.connect();
  await client.write(head('/a', 3 * MiB), randomBytes(MiB));
  await client.until(/500 Internal/);
  expect(stage.errors).toMatchObject([{ code: 'connection-lost', message: expect.stringMatching(/too long/) }]);
  expect(stage.bodies.get('/a')?.length).toBe(MiB);
});

test('who is stopped, or fails, in the middle: the answer is seen and the rest is read to its end', async () => {
  const stop = new AbortController();
  for (const manner of [{ failAt: 30, busyEvery: 1000 }, { failAt: 31, busyEvery: 2 }, { stop: stop.signal }]) {
    const stage = await given(manner);
    const bytes = randomBytes(4 * MiB);
    const client = await stage.connect();
    await client.write(head('/a', bytes.length), bytes.subarray(0, MiB));
    if (manner.stop !== undefined) {
      await vi.waitFor(() => expect(stage.direct).toBeGreaterThan(900_000), { interval: 5 });
      stop.abort(new HawserError('cancelled', 'stopped'));
    }
    await client.until(/409 Conflict[\s\S]*connection: close[\s\S]*failed\n/i);
    await client.write(bytes.subarray(MiB));
    await client.ended;
    expect(stage.errors).toMatchObject([{ code: 'cancelled' }]);
    const got = stage.bodies.get('/a') ?? Buffer.alloc(0);
    expect(got.equals(bytes.subarray(0, got.length))).toBe(true);
  }
});

test('after a body the connection may become something else', async () => {
  const stage = await given();
  const bytes = randomBytes(2 * MiB);
  const client = await stage.connect();
  await client.write(head('/a', bytes.length), bytes);
  await client.until(/took \/a \d+\n/);
  await client.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst ');
  await client.until(/101 Switching[\s\S]*first $/);
  await client.write('second');
  await client.until(/first second$/);
});

function keyOf(socket: Socket, name: string): symbol {
  return Object.getOwnPropertySymbols(socket).find(({ description }) => description === name) ?? Symbol();
}

test('where node is not as we know it, bodies come all the same', async () => {
  const changes: readonly ((socket: TLSSocket) => void)[] = [
    (socket) => Reflect.set(Reflect.get(socket, '_handle'), 'useUserBuffer', undefined),
    (socket) => void socket.on('data', () => {}),
    (socket) => Reflect.deleteProperty(socket, keyOf(socket, 'kBufferGen')),
  ];
  for (const change of changes) {
    const stage = await given({ change, busyEvery: 3 });
    const bytes = randomBytes(2 * MiB + 1);
    const client = await stage.connect();
    void client.write(head('/a', bytes.length), bytes, get('/behind'));
    await client.until(/took \/a \d+\n[\s\S]*GET \/behind\n$/);
    expect(stage.bodies.get('/a')?.equals(bytes)).toBe(true);
    expect(stage.direct).toBe(0);
  }
});

test('two hundred connections, each of which does something else', async () => {
  const stage = await given({ busyEvery: 5, turns: 2 });
  const bytes = randomBytes(MiB + 1000);
  const garbage = (plain: Socket) => plain.write(randomBytes(300));
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      if (i % 4 === 0) {
        const plain = connectPlain({ host: '127.0.0.1', port: stage.port }).on('error', () => {});
        onTestFinished(() => void plain.destroy());
        // Half a handshake, or none at all.
        if (i % 8 === 0) plain.write(Buffer.from('160301020001', 'hex'), () => plain.destroy());
        else garbage(plain);
        return;
      }
      const client = await stage.connect(512 + i * 50);
      if (i % 4 === 1) {
        await client.write(head(`/${i}`, bytes.length), bytes.subarray(0, 5000 * i));
        client.plain.destroy();
      } else if (i % 4 === 2) {
        await client.write(head(`/${i}`, bytes.length), bytes.subarray(0, 5000 * i));
        garbage(client.plain);
      } else {
        await client.write(head(`/${i}`, bytes.length), bytes);
        await client.until(/took \/\d+ \d+\n$/);
        client.socket.end();
      }
    }),
  );
  await vi.waitFor(() => expect(stage.sockets.size).toBe(0), { timeout: 60_000 });
  expect([...stage.bodies.values()].filter((body) => body.equals(bytes)).length).toBe(50);
  for (const body of stage.bodies.values()) expect(body.equals(bytes.subarray(0, body.length))).toBe(true);
});
