import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server of images in front of a Stage's, as clients meet them: without what is ours, or over a bad line. */
export interface Original extends AsyncDisposable {
  readonly url: string;
  /** `PUT 0-1048575`, `PATCH zero`, `GET /extents`, … in the order in which they came. */
  readonly seen: string[];
}

export interface OriginalOptions {
  /** OPTIONS as ovirt-imageio 2.5.3 answers them, and one extent of data for files. */
  readonly plain?: boolean;
  /** Ends the connection in the middle of this request, by its number from 1 and its name as in `seen`. */
  readonly cut?: (number: number, name: string) => boolean;
  /** Features that are not told. */
  readonly without?: readonly string[];
  /** What a body becomes on its way in. */
  readonly spoil?: (bytes: Buffer) => Buffer;
}

/** Passes everything on to `target`, but for what the options say. */
export async function startOriginal(target: string, options: OriginalOptions = {}): Promise<Original> {
  const seen: string[] = [];
  let number = 0;
  const server = createServer((incoming, response) => {
    void collect(incoming).then(async (sent) => {
      const { method = '', url = '' } = incoming;
      const name = nameOf(incoming, sent);
      seen.push(name);
      const cut = options.cut?.(++number, name) === true;
      const body = method === 'PUT' && options.spoil !== undefined ? options.spoil(sent) : sent;
      // A cut PUT has arrived in part, and nobody was told.
      const arrived = cut && method === 'PUT' ? body.subarray(0, Math.floor(body.length / 2)) : body;
      const answer = await pass(target, incoming, arrived);
      if (cut) return halfOf(response, answer);
      const text = changed(answer.body, { method, url, options });
      response.writeHead(answer.status, { ...answer.headers, 'content-length': text.length }).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Passed {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function pass(target: string, { method, url = '', headers }: IncomingMessage, body: Buffer): Promise<Passed> {
  const { hostname, port } = new URL(target);
  const { expect: _, ...rest } = headers;
  return new Promise((resolve, reject) => {
    const length = { 'content-length': body.length };
    const asked = request(
      { hostname, port, method, path: url, headers: { ...rest, ...length }, agent: false },
      (answer) => {
        void collect(answer).then((bytes) => {
          const told = Object.entries(answer.headers).filter(
            ([name]) => !/^(?:connection|keep-alive|date)$/.test(name),
          );
          const plain = Object.fromEntries(told.map(([name, value]) => [name, String(value)]));
          resolve({ status: answer.statusCode ?? 0, headers: plain, body: bytes });
        });
      },
    );
    asked.once('error', reject);
    asked.end(body);
  });
}

function halfOf(response: ServerResponse, { status, headers, body }: Passed): void {
  if (body.length === 0) return void response.destroy();
  response.writeHead(status, headers);
  response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy());
}

function changed(
  body: Buffer,
  { method, url, options }: { readonly method: string; readonly url: string; readonly options: OriginalOptions },
): Buffer {
  if (method === 'OPTIONS' && body.toString().startsWith('{')) {
    const { partial, size, unix_socket: _, features, ...told } = JSON.parse(body.toString());
    const left = features.filter((feature: string) => options.without?.includes(feature) !== true);
    const ours = options.plain === true ? {} : { partial, size };
    return Buffer.from(`${JSON.stringify({ ...told, ...ours, features: left })}\n`);
  }
  if (options.plain !== true || !url.includes('/extents') || !body.toString().startsWith('[')) return body;
  const extents: readonly { readonly length: number }[] = JSON.parse(body.toString());
  const length = extents.reduce((sum, extent) => sum + extent.length, 0);
  return Buffer.from(`${JSON.stringify([{ start: 0, length, zero: false, hole: false }])}\n`);
}

function nameOf({ method, url = '', headers }: IncomingMessage, body: Buffer): string {
  if (method === 'PATCH') return `PATCH ${JSON.parse(body.toString()).op}`;
  if (method === 'PUT') return `PUT ${/bytes (\S+)\//.exec(headers['content-range'] ?? '')?.[1]}`;
  if (headers.range !== undefined) return `GET ${headers.range.replace('bytes=', '')}`;
  return `${method} ${url.replace(/^\/images\/[^/?]+/, '')}`;
}

function collect(incoming: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.once('end', () => resolve(Buffer.concat(chunks)));
    incoming.once('error', () => undefined);
  });
}
