import { closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import type { FileSend, SendEnd, SendPiece } from '../core/sender.ts';
import { SocketSender } from './socket-sender.ts';

const MiB = 1024 * 1024;
const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

function newSender(): SocketSender {
  const sender = new SocketSender();
  open.push(sender);
  return sender;
}

function fileOf(content: Buffer): number {
  const path = join(tmpdir(), `hawser-sender-${process.pid}-${Math.random()}`);
  writeFileSync(path, content);
  const fd = openSync(path, 'r');
  unlinkSync(path);
  onTestFinished(() => closeSync(fd));
  return fd;
}

/** Two ends of one connection, and the descriptor of the first. */
async function pair(): Promise<{ readonly near: Socket; readonly far: Socket; readonly fd: number }> {
  const server: Server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const arrived = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const far = connect({ host: '127.0.0.1', port: typeof address === 'object' ? (address?.port ?? 0) : 0 });
  const near = await arrived;
  server.close();
  for (const socket of [near, far]) socket.on('error', () => {});
  onTestFinished(() => {
    near.destroy();
    far.destroy();
  });
  const fd: unknown = Reflect.get(Reflect.get(near, '_handle'), 'fd');
  return { near, far, fd: Number(fd) };
}

type Wanted = Omit<FileSend, 'patience'> & { readonly patience?: number };

interface Sent {
  /** Sum of what was told so far. */
  readonly told: () => number;
  readonly ended: Promise<SendEnd>;
  readonly recall: () => void;
}

function begin(sender: SocketSender, { socket, file, pieces, patience = 60_000 }: Wanted): Sent {
  let told = 0;
  const ended = Promise.withResolvers<SendEnd>();
  const sending = sender.begin(
    { socket, file, pieces, patience },
    {
      sent: (bytes) => {
        told += bytes;
      },
      ended: ended.resolve,
    },
  );
  if (sending === undefined) throw new Error('did not begin');
  return { told: () => told, ended: ended.promise, recall: () => sending.recall() };
}

const data = (offset: number, length: number): SendPiece => ({ offset, length, zero: false });

test('pieces are sent in order, and their sum is told', async () => {
  const bytes = Buffer.from('abcdefgh');
  const { far, near, fd } = await pair();
  const got: Buffer[] = [];
  far.on('data', (chunk: Buffer) => void got.push(chunk));
  const sent = begin(newSender(), {
    socket: fd,
    file: fileOf(bytes),
    pieces: [data(5, 2), { offset: 0, length: 3, zero: true }, data(0, 1)],
  });
  expect(await sent.ended).toEqual({ kind: 'sent', bytes: 6 });
  expect(sent.told()).toBe(6);
  near.end();
  await new Promise((resolve) => far.once('close', resolve));
  expect(Buffer.concat(got)).toEqual(Buffer.from('fg\0\0\0a'));
});

test('a file that is shorter ends it where the file ends', async () => {
  const { far, fd } = await pair();
  far.resume();
  const sent = begin(newSender(), { socket: fd, file: fileOf(Buffer.alloc(100, 'x')), pieces: [data(0, 200)] });
  expect(await sent.ended).toEqual({ kind: 'unsent', bytes: 100 });
});

test('what is no file for sendfile(2) is not sent', async () => {
  const { fd } = await pair();
  const other = await pair();
  expect(await begin(newSender(), { socket: fd, file: other.fd, pieces: [data(0, 10)] }).ended).toEqual({
    kind: 'unsent',
    bytes: 0,
  });
});

test('a client that takes nothing is given up after its patience, another one with more of it is not', async () => {
  const sender = newSender();
  const [file, short, long] = [fileOf(Buffer.alloc(32 * MiB)), await pair(), await pair()];
  const pieces = [data(0, 32 * MiB)];
  const patient = begin(sender, { socket: long.fd, file, pieces });
  const end = await begin(sender, { socket: short.fd, file, pieces, patience: 50 }).ended;
  expect(end).toMatchObject({ kind: 'stalled' });
  patient.recall();
  const recalled = await patient.ended;
  expect(recalled).toMatchObject({ kind: 'returned', bytes: patient.told() });
  expect(sender.running).toBe(0);
});

test('a client that is gone ends it', async () => {
  const { far, fd } = await pair();
  const sent = begin(newSender(), { socket: fd, file: fileOf(Buffer.alloc(32 * MiB)), pieces: [data(0, 32 * MiB)] });
  far.resetAndDestroy();
  expect(await sent.ended).toMatchObject({ kind: 'gone' });
});

test('one that is closed tells all that they are lost, and begins nothing', async () => {
  const { fd } = await pair();
  const sender = newSender();
  const file = fileOf(Buffer.alloc(32 * MiB));
  const sent = begin(sender, { socket: fd, file, pieces: [data(0, 32 * MiB)] });
  await sender[Symbol.asyncDispose]();
  expect(await sent.ended).toMatchObject({ kind: 'lost' });
  expect(sender.begin({ socket: fd, file, pieces: [data(0, 1)], patience: 1 }, { sent() {}, ended() {} })).toBe(
    undefined,
  );
});
