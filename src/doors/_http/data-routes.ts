import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type ExtentList, extentQuery, leafQuery } from '../../contract/api/image.ts';
import { type Receipt, type ReceivedRanges, zerosRequest } from '../../contract/api/upload.ts';
import type { Digest } from '../../core/digest.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { CopyReader, DataPlane, RangesFacts } from '../../service/host/data-plane.ts';
import { bodySource } from './body-source.ts';
import { contentDisposition, etagOf, matchesNone, rangeAnswer, receiveRequest } from './data-headers.ts';
import { responseSink } from './response-sink.ts';
import { expectsContinue } from './server.ts';

/** Who may touch which bytes: the API asks control, the data listener its tickets. Both throw. */
export interface DataPolicy {
  upload(request: FastifyRequest, op: 'read' | 'write'): Promise<{ readonly uploadId: string }>;
  copy(request: FastifyRequest): Promise<CopyAddress>;
}

export interface CopyAddress {
  readonly storeId: string;
  readonly key: string;
  /** For the save dialog. */
  readonly filename: string | undefined;
  /** Flat ones that are known. */
  readonly digests: readonly Digest[];
  /** What the object had when it was sealed, where that is known. */
  readonly fingerprint?: string | null | undefined;
}

export interface DataRouteSettings {
  readonly plane: DataPlane;
  readonly policy: DataPolicy;
  /** `/uploads/:id` and `/images/:id` in the API; below these come `/data`, `/zeros` and so on. */
  readonly uploadPath: string;
  readonly copyPath: string;
}

const MOST_EXTENTS = 10_000;

/** The routes that move bytes; the same on the main listener and on the data listener. */
export async function dataRoutes(app: FastifyInstance, settings: DataRouteSettings): Promise<void> {
  await app.register(async (inner) => {
    inner.removeAllContentTypeParsers();
    inner.addContentTypeParser('*', (_request, _payload, done) => done(null));
    inner.put(`${settings.uploadPath}/data`, { config: { ownsBody: true, quiet: true } }, (request, reply) =>
      putData(settings, request, reply),
    );
  });
  uploadRoutes(app, settings);
  copyRoutes(app, settings);
}

/** One range of bytes, answered once all of it is acknowledged. A refusal comes before the body wherever the headers allow it. */
async function putData(
  { plane, policy }: DataRouteSettings,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Receipt> {
  const { uploadId } = await policy.upload(request, 'write');
  const wanted = receiveRequest(request.headers);
  plane.admit(uploadId, wanted);
  if (expectsContinue(request)) reply.raw.writeContinue();
  const gone = new AbortController();
  const facts = await plane.receive(uploadId, wanted, bodySource(request.raw), gone.signal);
  return { offset: wanted.offset, length: facts.length, receivedBytes: facts.receivedBytes, complete: facts.complete };
}

function uploadRoutes(app: FastifyInstance, { plane, policy, uploadPath }: DataRouteSettings): void {
  app.post(`${uploadPath}/zeros`, { schema: { body: zerosRequest, hide: true } }, async (request): Promise<Receipt> => {
    const { uploadId } = await policy.upload(request, 'write');
    const { ranges } = zerosRequest.parse(request.body);
    const facts = await plane.zeros(uploadId, ranges);
    return {
      offset: ranges[0]?.offset ?? 0,
      length: facts.length,
      receivedBytes: facts.receivedBytes,
      complete: facts.complete,
    };
  });

  app.post(
    `${uploadPath}/discard`,
    { schema: { body: zerosRequest, hide: true } },
    async (request): Promise<ReceivedRanges> => {
      const { uploadId } = await policy.upload(request, 'write');
      await plane.discard(uploadId, zerosRequest.parse(request.body).ranges);
      return rangesAnswer(await plane.ranges(uploadId));
    },
  );

  app.get(`${uploadPath}/ranges`, { schema: { hide: true } }, async (request): Promise<ReceivedRanges> => {
    const { uploadId } = await policy.upload(request, 'read');
    return rangesAnswer(await plane.ranges(uploadId));
  });

  app.get(`${uploadPath}/leaves`, { schema: { querystring: leafQuery, hide: true } }, async (request, reply) => {
    const { uploadId } = await policy.upload(request, 'read');
    const { first, count } = leafQuery.parse(request.query);
    return sendOctets(reply, await plane.uploadLeaves(uploadId, first, count));
  });
}

function copyRoutes(app: FastifyInstance, settings: DataRouteSettings): void {
  const { plane, policy, copyPath } = settings;
  app.route({
    method: ['GET', 'HEAD'],
    url: `${copyPath}/data`,
    schema: { hide: true },
    config: { quiet: true },
    handler: (request, reply) => getData(settings, request, reply),
  });

  app.get(
    `${copyPath}/extents`,
    { schema: { querystring: extentQuery, hide: true } },
    async (request): Promise<ExtentList> => {
      const { storeId, key } = await policy.copy(request);
      await using copy = await plane.openCopy(storeId, key);
      return await listExtents(copy, extentQuery.parse(request.query).from);
    },
  );

  app.get(`${copyPath}/leaves`, { schema: { querystring: leafQuery, hide: true } }, async (request, reply) => {
    const { storeId, key } = await policy.copy(request);
    await using copy = await plane.openCopy(storeId, key);
    const { first, count } = leafQuery.parse(request.query);
    return sendOctets(reply, copy.leaves(first, count));
  });
}

async function getData(
  { plane, policy }: DataRouteSettings,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const address = await policy.copy(request);
  await using copy = await plane.openCopy(address.storeId, address.key);
  const etag = etagOf(copy.treeDigest, copy.fingerprint, address.fingerprint);
  const response = reply.raw;
  for (const [name, value] of Object.entries(dataHeaders(address, copy, etag))) response.setHeader(name, value);
  if (matchesNone(request.headers, etag)) return end(reply, 304);
  const answer = rangeAnswer(request.headers, copy.size, etag);
  if (answer.kind === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${copy.size}`);
    throw new HawserError('out-of-range', `The range lies outside the image, which has ${copy.size} bytes.`);
  }
  const range = answer.kind === 'part' ? answer.range : { offset: 0, length: copy.size };
  response.setHeader('content-length', range.length);
  if (answer.kind === 'part')
    response.setHeader('content-range', `bytes ${range.offset}-${range.offset + range.length - 1}/${copy.size}`);
  const status = answer.kind === 'part' ? 206 : 200;
  if (request.method === 'HEAD') return end(reply, status);
  reply.hijack();
  response.writeHead(status);
  const { sink, signal } = responseSink(response);
  try {
    await copy.send(range, sink, signal);
    response.end();
  } catch (error) {
    // The status is gone already: cutting the connection is the only way left to say that it failed.
    response.destroy();
    if (!isHawserError(error, 'connection-lost'))
      request.log.error({ event: 'http.fault', route: request.routeOptions.url, err: error });
  }
  return reply;
}

function end(reply: FastifyReply, status: number): FastifyReply {
  reply.hijack();
  reply.raw.writeHead(status);
  reply.raw.end();
  return reply;
}

function dataHeaders(address: CopyAddress, copy: CopyReader, etag: string): Record<string, string> {
  const sha256 = address.digests.find((digest) => digest.algorithm === 'sha256');
  return {
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    etag,
    // no-transform: a proxy that compressed it would take the ranges and the length away.
    'cache-control': 'private, no-transform',
    ...(address.filename === undefined ? {} : { 'content-disposition': contentDisposition(address.filename) }),
    ...(sha256 === undefined
      ? {}
      : { 'repr-digest': `sha-256=:${Buffer.from(sha256.hex, 'hex').toString('base64')}:` }),
    ...(copy.treeDigest === undefined ? {} : { 'hawser-tree-digest': copy.treeDigest }),
  };
}

async function listExtents(copy: CopyReader, from: number): Promise<ExtentList> {
  const extents: ExtentList['extents'] = [];
  if (from >= copy.size) return { size: copy.size, extents, next: null };
  for await (const { offset, length, kind } of copy.extents({ offset: from, length: copy.size - from })) {
    if (extents.length === MOST_EXTENTS) return { size: copy.size, extents, next: offset };
    extents.push({ offset, length, kind });
  }
  return { size: copy.size, extents, next: null };
}

function rangesAnswer(facts: RangesFacts): ReceivedRanges {
  return {
    declaredSize: facts.declaredSize,
    receivedBytes: facts.receivedBytes,
    ranges: [...facts.ranges],
    zeros: [...facts.zeros],
    fragments: facts.fragments.map(({ offset, length, digest }) => ({
      offset,
      length,
      sha256: digest.toString('hex'),
    })),
  };
}

function sendOctets(reply: FastifyReply, bytes: Uint8Array): FastifyReply {
  return reply.type('application/octet-stream').send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
