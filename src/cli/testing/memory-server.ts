import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { blockLength, LEAF_BYTES, leafCount, TREE_BLOCK } from '../../core/digest.ts';
import type { ErrorCode } from '../../core/errors.ts';
import { type Range, RangeSet, rangeEnd } from '../../core/range.ts';
import { collect } from '../node/http-connection.ts';

/** What goes wrong with one PUT, in the order they arrive. */
export type Fault =
  | { readonly kind: 'none' }
  /** The connection dies after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly after: number }
  /** All is taken, and the answer never arrives. */
  | { readonly kind: 'drop-answer' }
  | { readonly kind: 'status'; readonly status: number; readonly body: string }
  | { readonly kind: 'problem'; readonly code: ErrorCode; readonly status: number }
  /** Takes so many bytes and then neither reads nor answers. */
  | { readonly kind: 'stall'; readonly after: number }
  /** All is taken, the connection dies, and what was received is gone (a power cut). */
  | { readonly kind: 'forget' };

interface Stored {
  readonly id: string;
  readonly imageId: string;
  readonly taskId: string;
  readonly name: string;
  readonly fingerprint: string | null;
  readonly declaredSize: number | null;
  state: string;
  size: number;
  data: Buffer;
  received: RangeSet;
  zeros: RangeSet;
}

/** The routes that an upload and a download need, in memory, with faults to order. */
export class MemoryServer implements AsyncDisposable {
  faults: Fault[] = [];
  /** PUTs with longer bodies get nginx's 413. */
  bodyLimit = Number.POSITIVE_INFINITY;
  chunkSize = 16 * TREE_BLOCK;
  /** Bytes that a client sent although they are there. */
  resent = 0;
  /** Bytes of data bodies that arrived, and the lengths of the PUTs. */
  readonly puts: number[] = [];
  readonly log: string[] = [];
  readonly uploads: Stored[] = [];
  readonly #server: Server;
  readonly #open = new Set<ServerResponse>();

  private constructor(server: Server) {
    this.#server = server;
    server.on('request', (request, response) => {
      this.#open.add(response);
      response.once('close', () => this.#open.delete(response));
      this.#route(request, response).catch((error: unknown) => {
        if (!response.headersSent) this.#problem(response, 500, 'internal', String(error));
        else response.destroy();
      });
    });
  }

  static async start(): Promise<MemoryServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new MemoryServer(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  content(name: string): Buffer {
    const upload = this.uploads.findLast((each) => each.name === name && each.state === 'sealed');
    if (upload === undefined) throw new Error(`nothing sealed is called ${name}`);
    return upload.data.subarray(0, upload.size);
  }

  /** Puts a ready Image there. */
  seed(name: string, bytes: Buffer, holes: readonly Range[] = []): Stored {
    const upload = this.#create({ name, size: bytes.length, fingerprint: null });
    bytes.copy(upload.data);
    upload.received.add({ offset: 0, length: bytes.length });
    for (const hole of holes) upload.zeros.add(hole);
    upload.state = 'sealed';
    upload.size = bytes.length;
    return upload;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const response of this.#open) response.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x');
    const [kind, id, what] = pathname.replace('/api/v1/', '').split('/');
    this.log.push(`${request.method} ${kind}${what === undefined ? '' : `/${what}`}`);
    const upload = this.uploads.find((each) => [each.id, each.imageId, each.taskId].includes(id ?? ''));
    if (id === undefined) {
      if (kind === 'uploads' && request.method === 'POST') {
        const body = JSON.parse((await collect(request)).toString()) as Record<string, unknown>;
        this.#json(response, resource(this.#create(body), this.chunkSize));
      } else if (kind === 'uploads') {
        const items = this.uploads.filter((each) => each.name === searchParams.get('name')).reverse();
        this.#json(response, { items: items.map((each) => resource(each, this.chunkSize)), next: null });
      } else if (kind === 'images') {
        const items = this.uploads.filter((each) => each.state === 'sealed').map(image);
        this.#json(response, { items, next: null });
      } else this.#problem(response, 404, 'not-found', 'no such route');
      return;
    }
    if (upload === undefined) return this.#problem(response, 404, 'not-found', 'no such thing');
    if (kind === 'uploads') await this.#uploadRoute(upload, { request, response, what, searchParams });
    else if (kind === 'images') this.#imageRoute(upload, { request, response, what, searchParams });
    else this.#problem(response, 404, 'not-found', 'no such route');
  }

  async #uploadRoute(upload: Stored, { request, response, what, searchParams }: Asked): Promise<void> {
    if (what === undefined && request.method === 'DELETE') {
      upload.state = 'cancelled';
      response.writeHead(204).end();
    } else if (what === undefined) this.#json(response, resource(upload, this.chunkSize));
    else if (what === 'data') await this.#put(upload, request, response);
    else if (what === 'ranges') {
      this.#json(response, {
        declaredSize: upload.declaredSize,
        receivedBytes: upload.received.bytes,
        ranges: [...upload.received],
        zeros: [...upload.zeros],
        fragments: fragments(upload),
      });
    } else if (what === 'leaves') this.#leaves(upload, response, searchParams);
    else if (what === 'zeros') {
      const { ranges } = JSON.parse((await collect(request)).toString()) as { ranges: Range[] };
      for (const range of ranges) {
        this.#grow(upload, rangeEnd(range));
        upload.received.add(range);
        upload.zeros.add(range);
      }
      this.#json(response, receipt(upload, ranges[0] ?? { offset: 0, length: 0 }));
    } else if (what === 'finish') await this.#finish(upload, request, response);
  }

  async #put(upload: Stored, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(request.headers['content-range'] ?? '');
    if (match === null) return this.#problem(response, 400, 'bad-request', 'no content-range');
    const offset = Number(match[1]);
    const range = { offset, length: Number(match[2]) - offset + 1 };
    this.puts.push(range.length);
    if (range.length > this.bodyLimit) {
      response.writeHead(413, { 'content-type': 'text/html', connection: 'close' });
      response.end('<html><h1>413 Request Entity Too Large</h1></html>');
      return;
    }
    for (const known of upload.received.inside(range)) this.resent += known.length;
    const fault = this.faults.shift() ?? { kind: 'none' };
    if (fault.kind === 'status' || fault.kind === 'problem') {
      request.resume();
      await new Promise((resolve) => request.once('end', resolve));
      if (fault.kind === 'problem') return this.#problem(response, fault.status, fault.code, 'as ordered');
      response.writeHead(fault.status, { 'content-type': 'text/html' }).end(fault.body);
      return;
    }
    const most = 'after' in fault ? fault.after : Number.POSITIVE_INFINITY;
    await this.#take(upload, { request, offset, most });
    if (fault.kind === 'stall') return;
    if (fault.kind === 'cut' || fault.kind === 'drop-answer' || fault.kind === 'forget') {
      if (fault.kind === 'forget') {
        upload.received = new RangeSet();
        upload.zeros = new RangeSet();
      }
      request.socket.destroy();
      return;
    }
    this.#json(response, receipt(upload, range));
  }

  /** Resolves when the body ended or `most` bytes of it are in. */
  #take(upload: Stored, body: { request: IncomingMessage; offset: number; most: number }): Promise<void> {
    const { request, most } = body;
    let at = body.offset;
    return new Promise((resolve) => {
      request.on('data', (chunk: Buffer) => {
        const part = chunk.subarray(0, Math.max(0, body.offset + most - at));
        this.#grow(upload, at + part.length);
        part.copy(upload.data, at);
        upload.received.add({ offset: at, length: part.length });
        at += part.length;
        if (at - body.offset < most) return;
        request.pause();
        resolve();
      });
      request.once('end', resolve);
      request.once('close', resolve);
    });
  }

  async #finish(upload: Stored, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { size, digest } = JSON.parse((await collect(request)).toString()) as { size: number; digest: string };
    const missing = [...upload.received.missing({ offset: 0, length: size })];
    if (missing.length > 0) return this.#problem(response, 409, 'incomplete', 'bytes are missing');
    const tree = createHash('sha256');
    for (let i = 0; i < leafCount(size); i++) tree.update(leafOf(upload, i, size));
    const found = `tree-sha256:${tree.digest('hex')}`;
    if (digest !== found) return this.#problem(response, 422, 'digest-mismatch', `${found} is not ${digest}`);
    upload.state = 'sealed';
    upload.size = size;
    this.#json(response, { upload: resource(upload, this.chunkSize), image: image(upload) });
  }

  #imageRoute(upload: Stored, asked: Asked): void {
    const { response, what, searchParams } = asked;
    if (what === undefined) this.#json(response, image(upload));
    else if (what === 'leaves') this.#leaves(upload, response, searchParams);
    else if (what === 'extents') {
      const whole = { offset: 0, length: upload.size };
      const extents = [
        ...[...upload.zeros.inside(whole)].map((range) => ({ ...range, kind: 'hole' })),
        ...[...upload.zeros.missing(whole)].map((range) => ({ ...range, kind: 'data' })),
      ].sort((a, b) => a.offset - b.offset);
      this.#json(response, { size: upload.size, extents, next: null });
    } else if (what === 'data') this.#get(upload, asked);
    else this.#problem(response, 404, 'not-found', 'no such route');
  }

  #get(upload: Stored, { request, response }: Asked): void {
    const fault = this.faults.shift() ?? { kind: 'none' };
    if (fault.kind === 'status') {
      response.writeHead(fault.status).end(fault.body);
      return;
    }
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [from, to] = match === null ? [0, upload.size - 1] : [Number(match[1]), Number(match[2])];
    const body = Buffer.from(upload.data.subarray(from, to + 1));
    this.puts.push(body.length);
    if (fault.kind === 'forget') body.fill(7);
    response.writeHead(match === null ? 200 : 206, { etag: `"${upload.imageId}"`, 'content-length': body.length });
    if (fault.kind !== 'cut') response.end(body);
    else response.write(body.subarray(0, fault.after), () => response.destroy());
  }

  #leaves(upload: Stored, response: ServerResponse, query: URLSearchParams): void {
    const size = upload.state === 'sealed' ? upload.size : (upload.declaredSize ?? upload.data.length);
    const first = Number(query.get('first'));
    const count = Math.max(0, Math.min(Number(query.get('count')), leafCount(size) - first));
    const leaves = Array.from({ length: count }, (_, i) => leafOf(upload, first + i, size));
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(Buffer.concat(leaves));
  }

  #create(body: Record<string, unknown>): Stored {
    const declaredSize = typeof body.size === 'number' ? body.size : null;
    const upload: Stored = {
      id: randomUUID(),
      imageId: randomUUID(),
      taskId: randomUUID(),
      name: String(body.name),
      fingerprint: typeof body.fingerprint === 'string' ? body.fingerprint : null,
      declaredSize,
      state: 'open',
      size: 0,
      data: Buffer.alloc(declaredSize ?? 0),
      received: new RangeSet(),
      zeros: new RangeSet(),
    };
    this.uploads.push(upload);
    return upload;
  }

  #grow(upload: Stored, size: number): void {
    if (upload.data.length < size) upload.data = Buffer.concat([upload.data, Buffer.alloc(size - upload.data.length)]);
  }

  #json(response: ServerResponse, body: unknown): void {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  #problem(response: ServerResponse, status: number, code: ErrorCode, detail: string): void {
    const body = { type: 'about:blank', title: code, status, detail, code, retryable: false, requestId: 'r-1' };
    response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(body));
  }
}

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly what: string | undefined;
  readonly searchParams: URLSearchParams;
}

/** All zero when the block is not complete. */
function leafOf(upload: Stored, index: number, size: number): Buffer {
  const range = { offset: index * TREE_BLOCK, length: blockLength(size, index) };
  if (!upload.received.contains(range)) return Buffer.alloc(LEAF_BYTES);
  return createHash('sha256')
    .update(upload.data.subarray(range.offset, rangeEnd(range)))
    .digest();
}

function fragments(upload: Stored): (Range & { readonly sha256: string })[] {
  const size = upload.declaredSize ?? upload.data.length;
  const found: (Range & { readonly sha256: string })[] = [];
  for (let i = 0; i < leafCount(size); i++) {
    const block = { offset: i * TREE_BLOCK, length: blockLength(size, i) };
    if (upload.received.contains(block)) continue;
    for (const range of upload.received.inside(block)) {
      for (const part of upload.zeros.missing(range)) {
        const bytes = upload.data.subarray(part.offset, rangeEnd(part));
        found.push({ ...part, sha256: createHash('sha256').update(bytes).digest('hex') });
      }
    }
  }
  return found;
}

function receipt(upload: Stored, range: Range) {
  const complete = upload.declaredSize !== null && upload.received.bytes === upload.declaredSize;
  return { ...range, receivedBytes: upload.received.bytes, complete };
}

const time = '2026-01-01T00:00:00Z';

function resource(upload: Stored, chunkSize: number) {
  return {
    id: upload.id,
    imageId: upload.imageId,
    taskId: upload.taskId,
    name: upload.name,
    state: upload.state,
    status: '',
    purpose: 'fill',
    source: { kind: 'client' },
    declaredSize: upload.declaredSize,
    receivedBytes: upload.received.bytes,
    zeroBytes: upload.zeros.bytes,
    format: 'auto',
    digest: null,
    fingerprint: upload.fingerprint,
    storeId: upload.id,
    owner: 'admin',
    chunkSize,
    createdAt: time,
    activeAt: null,
    expiresAt: time,
  };
}

function image(upload: Stored) {
  return {
    id: upload.imageId,
    name: upload.name,
    state: upload.state === 'sealed' ? 'ready' : 'in-progress',
    status: '',
    origin: 'upload',
    source: { kind: 'client' },
    placement: { minCopies: 1, storeTags: [], hostTags: [] },
    format: 'raw',
    declaredSize: upload.declaredSize,
    size: upload.state === 'sealed' ? upload.size : null,
    virtualSize: upload.size,
    storedSize: upload.size,
    digests: [],
    copies: [],
    uploadId: upload.id,
    taskId: upload.taskId,
    owner: 'admin',
    createdAt: time,
    readyAt: null,
  };
}
