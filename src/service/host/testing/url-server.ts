import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export interface Served {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** 0 for the first request. */
  readonly count: number;
}

export interface UrlServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** In the order they came. */
  readonly requests: { readonly range: string | undefined; readonly headers: IncomingMessage['headers'] }[];
  /** Bytes of bodies that were written. */
  readonly sent: () => number;
}

/** A real HTTP server on loopback that answers as `serve` says. */
export async function urlServer(serve: (served: Served) => void): Promise<UrlServer> {
  const requests: { range: string | undefined; headers: IncomingMessage['headers'] }[] = [];
  let before = 0;
  const server = createServer((request, response) => {
    const count = requests.push({ range: request.headers.range, headers: request.headers }) - 1;
    response.on('error', () => {});
    serve({ request, response, count });
  });
  server.on('connection', (socket) => {
    socket.on('close', () => {
      before += socket.bytesWritten;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/disk.img`,
    port,
    requests,
    sent: () => before,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

export interface ServeOptions {
  readonly etag?: string;
  readonly ranges?: boolean;
  /** The connection is cut after so many bytes of the body. */
  readonly cutAfter?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** As a good server would: ranges, If-Range, ETag; with what `options` take away. */
export function serveBytes({ request, response }: Served, bytes: Buffer, options: ServeOptions = {}): void {
  const { etag = '"one"', ranges = true, cutAfter, headers = {} } = options;
  const match = ranges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') : null;
  const condition = request.headers['if-range'];
  const partial = match !== null && (condition === undefined || condition === etag);
  const first = partial ? Number(match[1]) : 0;
  const last = partial && match[2] !== '' ? Math.min(Number(match[2]), bytes.length - 1) : bytes.length - 1;
  const about = { ...(etag === '' ? {} : { etag }), ...headers };
  if (partial && first >= bytes.length) {
    response.writeHead(416, { ...about, 'content-range': `bytes */${bytes.length}` }).end();
    return;
  }
  const body = bytes.subarray(first, last + 1);
  const range = partial ? { 'content-range': `bytes ${first}-${last}/${bytes.length}` } : {};
  response.writeHead(partial ? 206 : 200, { ...about, ...range, 'content-length': body.length });
  if (cutAfter === undefined || cutAfter >= body.length) response.end(body);
  else response.write(body.subarray(0, cutAfter), () => response.destroy());
}
