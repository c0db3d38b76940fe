import { connect, type Socket } from 'node:net';

/** A plain TCP connection to a server, to see the bytes that really go over it. */
export interface RawHttp extends AsyncDisposable {
  readonly socket: Socket;
  /** All that came so far. */
  text(): string;
  send(text: string | Uint8Array): void;
  /** Resolves when `pattern` is in what came; rejects when the connection ends without it. */
  until(pattern: RegExp): Promise<string>;
  /** Resolves when the server has said that it sends no more (FIN); rejects on a reset. */
  readonly ended: Promise<void>;
  readonly closed: Promise<void>;
}

export async function rawHttp(port: number): Promise<RawHttp> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  let seen = '';
  const watchers = new Set<() => void>();
  socket.on('data', (chunk: Buffer) => {
    seen += chunk.toString('latin1');
    for (const watch of watchers) watch();
  });
  const ended = new Promise<void>((resolve, reject) => socket.once('end', resolve).once('error', reject));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  ended.catch(() => {});
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return {
    socket,
    text: () => seen,
    send: (text) => void socket.write(text),
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!pattern.test(seen)) return;
          watchers.delete(look);
          resolve(seen);
        };
        watchers.add(look);
        look();
        const late = () => reject(new Error(`The connection ended without ${pattern}; it said: ${seen}`));
        ended.then(late, late);
      }),
    ended,
    closed,
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await closed;
    },
  };
}
