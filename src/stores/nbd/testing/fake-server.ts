import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NbdAddress } from '../transport.ts';

export interface FakeRequest {
  readonly type: number;
  readonly flags: number;
  readonly cookie: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly payload: Buffer;
}

/** A client of the fake server. */
export interface Peer {
  readonly socket: Socket;
  take(length: number): Promise<Buffer>;
  send(...parts: readonly Uint8Array[]): void;
  /** The whole handshake, as a good server does it. */
  shakeHands(options?: FakeExport): Promise<void>;
  request(): Promise<FakeRequest>;
}

export interface FakeExport {
  readonly size?: number;
  readonly flags?: number;
  readonly structured?: boolean;
  readonly blocks?: readonly [number, number, number];
}

export interface FakeServer extends AsyncDisposable {
  readonly address: NbdAddress;
  readonly connections: () => number;
}

/** An NBD server that does what `play` does with each client: also what no server should. */
export async function fakeServer(play: (peer: Peer) => Promise<void>): Promise<FakeServer> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-fake-'));
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    play(peerOf(socket)).catch(() => socket.destroy());
  });
  const path = join(folder, 's');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    address: { kind: 'unix', path },
    connections: () => sockets.size,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function optionReply(option: number, type: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u64(0x3e889045565a9n), u32(option), u32(type), u32(data.length), data]);
}

export function simpleReply(cookie: Buffer, error = 0): Buffer {
  return Buffer.concat([u32(0x67446698), u32(error), cookie]);
}

export function chunkReply(cookie: Buffer, type: number, data: Uint8Array, done = true): Buffer {
  return Buffer.concat([u32(0x668e33ef), u16(done ? 1 : 0), u16(type), cookie, u32(data.length), data]);
}

export const greeting = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]);

function peerOf(socket: Socket): Peer {
  let held = Buffer.alloc(0);
  let waiting: (() => void) | undefined;
  let ended = false;
  socket.on('data', (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    waiting?.();
  });
  socket.on('close', () => {
    ended = true;
    waiting?.();
  });
  const take = async (length: number) => {
    while (held.length < length) {
      if (ended) throw new Error('the client went');
      await new Promise<void>((resolve) => {
        waiting = resolve;
      });
    }
    const taken = held.subarray(0, length);
    held = held.subarray(length);
    return taken;
  };
  const send = (...parts: readonly Uint8Array[]) => void socket.write(Buffer.concat(parts));
  return {
    socket,
    take,
    send,
    shakeHands: (options) => goodHandshake({ take, send }, options),
    async request() {
      const head = await take(28);
      const type = head.readUInt16BE(6);
      const length = head.readUInt32BE(24);
      return {
        type,
        flags: head.readUInt16BE(4),
        cookie: head.subarray(8, 16),
        offset: Number(head.readBigUInt64BE(16)),
        length,
        payload: type === 1 ? await take(length) : Buffer.alloc(0),
      };
    },
  };
}

async function goodHandshake({ take, send }: Pick<Peer, 'take' | 'send'>, options: FakeExport = {}): Promise<void> {
  const { size = 2 ** 20, flags = 0b1101_0111_1101, structured = true, blocks } = options;
  send(greeting);
  await take(4);
  for (;;) {
    const head = await take(16);
    const option = head.readUInt32BE(8);
    const data = await take(head.readUInt32BE(12));
    if (option === 8) send(optionReply(8, structured ? 1 : 0x8000_0001));
    else if (option === 10) {
      const names = data.toString('latin1');
      if (names.includes('base:allocation'))
        send(optionReply(10, 4, Buffer.concat([u32(1), Buffer.from('base:allocation')])));
      send(optionReply(10, 1));
    } else if (option === 7) {
      send(optionReply(7, 3, Buffer.concat([u16(0), u64(size), u16(flags)])));
      if (blocks !== undefined) send(optionReply(7, 3, Buffer.concat([u16(3), ...blocks.map(u32)])));
      send(optionReply(7, 1));
      return;
    } else send(optionReply(option, 0x8000_0001));
  }
}
