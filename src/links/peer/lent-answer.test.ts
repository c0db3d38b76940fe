import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext, createServer as createTlsServer } from 'node:tls';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { MoveRequest, Mover } from '../../core/mover.ts';
import { lendConnection } from '../../doors/_http/lent-connection.ts';
import { receiveBody } from '../../engine/receive.ts';
import { makeRig, type Rig, treeOf } from '../../engine/testing/rig.ts';
import { ownTlsKeys, type TlsKeys } from '../../host/tls.ts';
import { pinnedTls } from '../../native/pinned-tls.ts';
import { openSocketMover } from '../../native/socket-mover.ts';
import type { DistantCopy } from '../../service/host/ports.ts';
import { openFileStore } from '../../stores/file/store.ts';
import { openPeers } from './open-peers.ts';

const MiB = 1024 * 1024;

interface Asked {
  readonly offset: number;
  readonly length: number;
  readonly socket: Socket;
  /** Without TLS. */
  readonly below: Socket;
}

let keys: readonly [TlsKeys, TlsKeys];
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-lent-answer-'));
  const made = ['a', 'b'].map(async (name) => {
    await mkdir(join(folder, name, 'keys'), { recursive: true });
    return ownTlsKeys((...parts) => join(folder, name, ...parts), new Date());
  });
  const [one, other] = await Promise.all(made);
  if (one === undefined || other === undefined) throw new Error('no keys');
  keys = [one, other];
  await rm(folder, { recursive: true });
});

interface Stage {
  readonly rig: Rig;
  readonly peer: DistantCopy;
  /** What the mover was asked for, and how much it brought. */
  readonly requests: MoveRequest[];
  readonly moved: () => number;
  readonly connections: () => number;
  fetch(offset: number, length: number, signal?: AbortSignal): Promise<number>;
}

/** A peer that answers a range as `answer` does, byte for byte, and who fetches from it into one object. */
async function givenPeer(tls: TlsKeys | undefined, answer: (asked: Asked) => void, stallMs = 60_000): Promise<Stage> {
  const real = openSocketMover();
  if (real === undefined) throw new Error('this machine has no mover');
  onTestFinished(() => real[Symbol.asyncDispose]());
  const requests: MoveRequest[] = [];
  let [moved, connections] = [0, 0];
  const mover: Mover = {
    begin(request, events) {
      requests.push(request);
      return real.begin(request, {
        moved: (segments) => {
          for (const { length } of segments) moved += length;
          events.moved(segments);
        },
        ended: events.ended,
      });
    },
  };
  const rig = await makeRig(24, (path) => openFileStore({ name: 'test', path }), mover);
  onTestFinished(() => rig[Symbol.asyncDispose]());
  const serve = (socket: Socket, below: Socket) => {
    connections++;
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const [, first, last] = /range: bytes=(\d+)-(\d+)/i.exec(text.slice(0, end)) ?? [];
        text = text.slice(end + 4);
        if (first === undefined) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
        else answer({ offset: Number(first), length: Number(last) - Number(first) + 1, socket, below });
      }
    });
  };
  const port = await listening(tls, serve);
  const connect = { connectPinned: pinnedTls(), lend: lendConnection };
  const url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const peer = openPeers({ passed: () => {}, ...connect, stallMs })({ url, ticket: 't', ca: tls?.cert ?? null });
  onTestFinished(() => peer[Symbol.asyncDispose]());
  if (tls !== undefined) {
    // The certificate is verified on a connection that is not lent.
    await peer.leaves(0, 1, new AbortController().signal);
    connections = 0;
  }
  const fetch = async (offset: number, length: number, signal = new AbortController().signal) => {
    const source = await peer.data({ offset, length }, signal);
    return receiveBody(rig, { offset, length, end: null }, source, signal);
  };
  return { rig, peer, requests, moved: () => moved, connections: () => connections, fetch };
}

async function listening(tls: TlsKeys | undefined, serve: (socket: Socket, below: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const noted = (socket: Socket) => void sockets.add(socket.on('error', () => {}));
  const server =
    tls === undefined ? createServer({ noDelay: true }, (socket) => serve(socket, socket)) : createTlsServer(tls);
  server.on('connection', noted);
  server.on('secureConnection', (socket: Socket) => {
    const below = [...sockets].find(({ remotePort }) => remotePort === socket.remotePort);
    serve(socket, below ?? socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function head({ offset, length }: Pick<Asked, 'offset' | 'length'>, contentLength = length): string {
  const range = `bytes ${offset}-${offset + length - 1}/999999999`;
  return `HTTP/1.1 206 Partial Content\r\ncontent-length: ${contentLength}\r\ncontent-range: ${range}\r\netag: "x"\r\n\r\n`;
}

async function mustHave(rig: Rig, bytes: Buffer): Promise<void> {
  const { incoming } = rig;
  expect([...incoming.received.all]).toEqual([{ offset: 0, length: bytes.length }]);
  const stored = Buffer.alloc(bytes.length);
  await incoming.writer.read(stored, 0);
  expect(stored.equals(bytes)).toBe(true);
  expect((await incoming.leaves(bytes.length)).treeDigest()).toBe(treeOf(bytes));
  expect(rig.means.slabs.inUse).toBe(0);
}

function arrived({ rig }: Stage, bytes: number): Promise<void> {
  return vi.waitFor(() => expect(rig.incoming.received.all.bytes).toBe(bytes), { timeout: 30_000 });
}

describe.each(['plain', 'TLS'])('%s', (way) => {
  const given = (answer: (asked: Asked) => void, stallMs?: number) =>
    givenPeer(way === 'TLS' ? keys[0] : undefined, answer, stallMs);

  test('ranges one after the other come by the mover, in one connection', async () => {
    const bytes = randomBytes(17 * MiB + 12_345);
    const stage = await given(({ socket, below, ...range }) => {
      socket.write(head(range));
      socket.write(bytes.subarray(range.offset, range.offset + range.length));
    });
    for (let offset = 0; offset < bytes.length; offset += 3 * MiB) {
      const length = Math.min(3 * MiB, bytes.length - offset);
      expect(await stage.fetch(offset, length)).toBe(length);
    }
    expect(stage.moved()).toBe(bytes.length);
    expect(stage.requests).toHaveLength(6);
    expect(stage.connections()).toBe(1);
    await mustHave(stage.rig, bytes);
  });

  test('some of the body comes with the head, some in drops', async () => {
    const bytes = randomBytes(5 * MiB + 1);
    let stage: Stage | undefined;
    const drops = async (socket: Socket) => {
      for (const [from, to] of [
        [700, 70_000],
        [70_000, 3 * MiB],
      ] as const) {
        socket.write(bytes.subarray(from, to));
        await vi.waitFor(() => expect(stage?.rig.incoming.received.all.bytes).toBe(to), { timeout: 30_000 });
      }
      socket.write(bytes.subarray(3 * MiB));
    };
    stage = await given(({ socket, below, ...range }) => {
      socket.write(Buffer.concat([Buffer.from(head(range)), bytes.subarray(0, 700)]));
      void drops(socket);
    });
    await stage.fetch(0, bytes.length);
    expect(stage.moved()).toBe(bytes.length);
    await mustHave(stage.rig, bytes);
  });

  test.each([
    ['end', 2 * MiB + 5],
    ['destroy', 2 * MiB],
    ['resetAndDestroy', 2 * MiB],
  ] as const)(
    'a source that dies in the middle (%s) leaves what came, and the rest comes on another connection',
    async (how, cut) => {
      const bytes = randomBytes(6 * MiB);
      let times = 0;
      const stage: Stage = await given(({ socket, below, ...range }) => {
        socket.write(head(range));
        if (times++ > 0) return void socket.write(bytes.subarray(range.offset));
        socket.write(bytes.subarray(0, cut), () => void arrived(stage, cut).then(() => below[how]()));
      });
      await expect(stage.fetch(0, bytes.length)).rejects.toMatchObject({
        code: 'connection-lost',
        message: expect.stringContaining(`after ${cut} of ${bytes.length}`),
      });
      expect([...stage.rig.incoming.received.all]).toEqual([{ offset: 0, length: cut }]);
      expect(await stage.fetch(cut, bytes.length - cut)).toBe(bytes.length - cut);
      expect(stage.connections()).toBe(2);
      await mustHave(stage.rig, bytes);
    },
  );

  test('one that announces more or less than was asked is never lent, and not believed', async () => {
    const bytes = randomBytes(4 * MiB);
    const lengths = [bytes.length + 5, bytes.length - 5];
    const stage = await given(({ socket, below, ...range }) => {
      const length = lengths.shift() ?? bytes.length;
      socket.write(head(range, length));
      socket.write(Buffer.concat([bytes, Buffer.alloc(5)]).subarray(0, length));
    });
    await expect(stage.fetch(0, bytes.length)).rejects.toMatchObject({ code: 'unsupported' });
    await expect(stage.fetch(0, bytes.length)).rejects.toMatchObject({ code: 'connection-lost' });
    expect(stage.requests).toEqual([]);
    expect(await stage.fetch(0, bytes.length)).toBe(bytes.length);
    await mustHave(stage.rig, bytes);
  });

  test('bytes behind the body stay unread, and spoil at most the next answer', async () => {
    const bytes = randomBytes(9 * MiB);
    let times = 0;
    const stage = await given(({ socket, below, ...range }) => {
      socket.write(head(range));
      socket.write(bytes.subarray(range.offset, range.offset + range.length));
      if (times++ === 0) socket.write(Buffer.alloc(MiB, 'behind'));
    });
    expect(await stage.fetch(0, 3 * MiB)).toBe(3 * MiB);
    for (let offset = 3 * MiB; offset < bytes.length; ) {
      offset += await stage.fetch(offset, 3 * MiB).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'unavailable' });
        return 0;
      });
    }
    expect(stage.connections()).toBeLessThanOrEqual(2);
    await mustHave(stage.rig, bytes);
  });

  test('a stop in the middle keeps what came and closes the connection', async () => {
    const bytes = randomBytes(5 * MiB);
    const closed = Promise.withResolvers<void>();
    const stage = await given(({ socket, below, ...range }) => {
      socket.write(head(range));
      socket.write(bytes.subarray(0, 3 * MiB));
      socket.on('close', () => closed.resolve());
    });
    const stop = new AbortController();
    const fetching = stage.fetch(0, bytes.length, stop.signal);
    await arrived(stage, 3 * MiB);
    stop.abort(new Error('enough'));
    await expect(fetching).rejects.toThrow('enough');
    await closed.promise;
    expect(stage.rig.incoming.received.all.bytes).toBe(3 * MiB);
    expect(stage.rig.means.slabs.inUse).toBe(0);
  });

  test('a source that falls silent is given up', async () => {
    const bytes = randomBytes(3 * MiB);
    const stage = await given(({ socket, below, ...range }) => {
      socket.write(head(range));
      socket.write(bytes.subarray(0, 2 * MiB + 1));
    }, 400);
    await expect(stage.fetch(0, bytes.length)).rejects.toMatchObject({
      code: 'connection-lost',
      message: expect.stringContaining('sent nothing'),
    });
    expect(stage.requests).toHaveLength(1);
    expect(stage.rig.incoming.received.all.bytes).toBe(2 * MiB + 1);
  });
});

test('what came before anybody asked for the connection is not lost, and not read twice', async () => {
  const bytes = randomBytes(4 * MiB);
  const port = await listening(undefined, (socket) => {
    socket.once('data', () => {
      socket.write(head({ offset: 0, length: bytes.length }));
      socket.write(bytes);
    });
  });
  const response = await new Promise<IncomingMessage>((resolve) => get({ port, host: '127.0.0.1' }, resolve));
  // Its parser has enough, and node has read on.
  await vi.waitFor(() => expect(response.socket.readableLength).toBeGreaterThan(0), { timeout: 30_000 });
  const lent = lendConnection(response);
  expect(lent?.lead.length).toBeGreaterThan(64 * 1024);
  expect(lent?.lead).toEqual(bytes.subarray(0, lent?.lead.length));
  lent?.giveBack();
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
});

test('a server that shows another certificate is asked for nothing, and verified anew', async () => {
  const [one, other] = keys;
  let shown = one;
  const asked: string[] = [];
  const bytes = randomBytes(3 * MiB);
  const server = createTlsServer({
    SNICallback: (_, done) => done(null, createSecureContext(shown)),
    ...one,
  }).on('secureConnection', (socket) => {
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        asked.push(chunk.toString());
        const [, first, last] = /range: bytes=(\d+)-(\d+)/i.exec(chunk.toString()) ?? [];
        if (first === undefined) return void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
        socket.write(head({ offset: Number(first), length: Number(last) - Number(first) + 1 }));
        socket.write(bytes.subarray(Number(first), Number(last) + 1));
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const peer = openPeers({ passed: () => {}, connectPinned: pinnedTls() })({
    url: `https://localhost:${port}`,
    ticket: 't',
    ca: `${one.cert}${other.cert}`,
  });
  onTestFinished(() => peer[Symbol.asyncDispose]());
  const signal = new AbortController().signal;
  await peer.leaves(0, 1, signal);
  shown = other;
  await expect(peer.data({ offset: 0, length: 10 }, signal)).rejects.toMatchObject({ code: 'unavailable' });
  expect(asked).toHaveLength(1);
  for (let times = 0; times < 3; times++) {
    const source = await peer.data({ offset: 0, length: bytes.length }, signal);
    const got: Uint8Array[] = [];
    await source.drain((chunk) => void got.push(Buffer.from(chunk)), signal);
    expect(Buffer.concat(got).equals(bytes)).toBe(true);
  }
});
