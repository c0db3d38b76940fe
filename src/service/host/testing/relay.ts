import { connect, createServer, type Socket } from 'node:net';

export interface Relay extends AsyncDisposable {
  readonly url: string;
  /** Bytes that came from the server. */
  readonly received: () => number;
  readonly connections: () => number;
}

export interface RelayOptions {
  /** Bytes of the answer after which connection `count` is cut; undefined: never. */
  readonly cutAfter?: (count: number) => number | undefined;
  /** May spoil what comes from the server; `at`: how many bytes came on all connections before. */
  readonly spoil?: (chunk: Buffer, at: number) => void;
}

/** Stands between a client and a server as a bad network does. */
export async function relay(target: string, { cutAfter, spoil }: RelayOptions = {}): Promise<Relay> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let [received, count] = [0, 0];
  const server = createServer((client) => {
    let left = cutAfter?.(count++) ?? Number.POSITIVE_INFINITY;
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket)).on('error', () => {});
    }
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.pipe(upstream);
    client.on('close', end);
    upstream.on('close', end).on('data', (chunk: Buffer) => {
      spoil?.(chunk, received);
      received += chunk.length;
      left -= chunk.length;
      if (left < 0) return void client.write(chunk.subarray(0, chunk.length + left), end);
      if (!client.write(chunk)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    received: () => received,
    connections: () => count,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
