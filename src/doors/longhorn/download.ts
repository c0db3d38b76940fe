import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Access } from '../../service/control/use-cases.ts';
import { HostConnections } from '../../tls/host-connections.ts';
import { contentDisposition } from '../_http/data-headers.ts';
import { type LonghornScope, nameOf } from './scope.ts';

export interface DownloadSettings {
  /** PEM that data listeners are verified with when a ticket names none; undefined: the usual roots. */
  readonly dataCa: string | undefined;
}

const connections = new HostConnections();

/** Headers of the data listener's answer that hold for the client too. */
const passed = ['accept-ranges', 'content-length', 'content-range', 'etag', 'hawser-tree-digest'];

/**
 * `GET /v1/backingimages/{name}/download`: gzip without a length, as the original; with `?raw=true` the bytes as they are,
 * with Range. They are fetched from the host that has them, with a ticket.
 */
export function downloadRoute(app: FastifyInstance, scope: LonghornScope, settings: DownloadSettings): void {
  app.get(
    '/backingimages/:name/download',
    { schema: { hide: true }, config: { quiet: true } },
    async (request, reply) => {
      const actor = scope.actorOf(request);
      const { image } = await scope.images.find(actor, nameOf(request));
      const access = await scope.images.use.images.access(actor, image.id);
      const { raw } = request.query as { readonly raw?: string };
      const zipped = raw === undefined || raw === 'false';
      // Who wants the headers alone has nothing read and nothing compressed.
      const method = request.method === 'HEAD' ? 'HEAD' : 'GET';
      if (zipped) return sendGzip(request, reply, await fetchFrom(access, settings, { method }), image.name);
      const { range, 'if-range': ifRange } = request.headers;
      const headers = { ...(range && { range }), ...(typeof ifRange === 'string' && { 'if-range': ifRange }) };
      return sendRaw(request, reply, await fetchFrom(access, settings, { method, headers }), image.name);
    },
  );
}

async function fetchFrom(
  access: Access,
  { dataCa }: DownloadSettings,
  asked: { readonly method: 'GET' | 'HEAD'; readonly headers?: Readonly<Record<string, string>> },
): Promise<IncomingMessage> {
  const url = `${access.url}/data`;
  const ca = access.ca ?? dataCa;
  const options = { method: asked.method, headers: { ...asked.headers, authorization: `Bearer ${access.token}` } };
  const tls = { ...(ca === undefined ? {} : { ca }), agent: connections.to(access.host) };
  const outgoing = url.startsWith('https:') ? httpsRequest(url, { ...options, ...tls }) : httpRequest(url, options);
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', (cause) => {
      if (isHawserError(cause)) return reject(cause);
      reject(new HawserError('unavailable', 'The host that has the bytes does not answer now; try again.', { cause }));
    });
    outgoing.end();
  });
}

async function sendGzip(
  request: FastifyRequest,
  reply: FastifyReply,
  incoming: IncomingMessage,
  name: string,
): Promise<FastifyReply> {
  if (incoming.statusCode !== 200) throw refused(incoming);
  reply.hijack();
  reply.raw.writeHead(200, {
    'content-type': 'application/octet-stream',
    'content-disposition': contentDisposition(`${name}.gz`),
    'cache-control': 'private, no-transform',
  });
  if (request.method === 'HEAD') return send(request, reply, pipeline(incoming, reply.raw));
  // zlib works on threads of its own; the fastest level keeps up with a disk on one of them.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 256 * 1024 });
  return send(request, reply, pipeline(incoming, gzip, reply.raw));
}

async function sendRaw(
  request: FastifyRequest,
  reply: FastifyReply,
  incoming: IncomingMessage,
  name: string,
): Promise<FastifyReply> {
  const status = incoming.statusCode ?? 502;
  if (status === 416) throw new HawserError('out-of-range', 'The range lies outside the image.');
  if (status !== 200 && status !== 206) throw refused(incoming);
  reply.hijack();
  for (const header of passed) {
    const value = incoming.headers[header];
    if (value !== undefined) reply.raw.setHeader(header, value);
  }
  reply.raw.writeHead(status, {
    'content-type': 'application/octet-stream',
    'content-disposition': contentDisposition(name),
    'cache-control': 'private, no-transform',
  });
  return send(request, reply, pipeline(incoming, reply.raw));
}

/** After the status cutting the connection is the only way left to say that it failed; the pipeline does that. */
async function send(request: FastifyRequest, reply: FastifyReply, sending: Promise<void>): Promise<FastifyReply> {
  try {
    await sending;
  } catch (error) {
    request.log.info({ event: 'download.broken', err: error });
  }
  return reply;
}

function refused(incoming: IncomingMessage): HawserError {
  incoming.resume();
  return new HawserError('unavailable', `The host that has the bytes answered ${incoming.statusCode}; try again.`);
}
