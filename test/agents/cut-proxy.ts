import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP relay that can be cut as a network is: nothing comes through any more, and nobody is told. */
export interface CutProxy extends AsyncDisposable {
  readonly port: number;
  cut(): void;
  /** What was under way goes on, as TCP does. */
  heal(): void;
}

/** `target` is asked for each connection: what listens there may have been restarted. */
export async function startCutProxy(
  target: () => Promise<{ readonly host: string; readonly port: number }>,
): Promise<CutProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let isCut = false;
  const waiting = new Set<Socket>();
  const accepted = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    accepted.add(socket);
    socket.once('close', () => accepted.delete(socket));
    socket.on('error', () => socket.destroy());
    if (isCut) waiting.add(socket);
    else void join(socket);
  });
  const join = async (socket: Socket) => {
    const { host, port } = await target().catch(() => ({ host: '127.0.0.1', port: 1 }));
    const upstream = connect({ host, port });
    const pair = [socket, upstream] as const;
    pairs.add(pair);
    for (const [one, other] of [pair, [upstream, socket]] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => {
        pairs.delete(pair);
        if (!isCut) other.destroy();
      });
      one.pipe(other);
    }
    if (isCut) hold(pair);
  };
  const hold = (pair: readonly Socket[]) => {
    for (const socket of pair) socket.unpipe().pause();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      isCut = true;
      for (const pair of pairs) hold(pair);
    },
    heal: () => {
      isCut = false;
      for (const [one, other] of pairs) {
        if (one.destroyed || other.destroyed) {
          one.destroy();
          other.destroy();
        } else {
          one.pipe(other);
          other.pipe(one);
        }
      }
      for (const socket of waiting) void join(socket);
      waiting.clear();
    },
    [Symbol.asyncDispose]: async () => {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
      for (const socket of accepted) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
