import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { TicketSubject } from '../../service/control/tickets.ts';
import type { Access, CopySource, UploadTarget, UseCases } from '../../service/control/use-cases.ts';
import { contentDisposition } from '../_http/data-headers.ts';
import type { DataPolicy } from '../_http/data-routes.ts';
import { type RelayTarget, relay } from '../_http/relay.ts';
import { validationError } from '../_http/validation.ts';
import { idParams } from './api-scope.ts';
import { actorOf } from './authenticate.ts';

const copyQuery = z.object({ filename: z.string().max(255).optional() });

/** Bytes of hosts whose agent is in another process. */
export interface Elsewhere {
  /** Whether the bytes of this host are another process's. */
  has(hostId: string): boolean;
  /** A ticket for its data listener; `refused`: this one is not known there any more. */
  access(hostId: string, subject: TicketSubject, refused?: Access): Promise<Access>;
}

/**
 * On the main listener control says who may touch which bytes: the actor of the request, asked for each
 * one, once. What belongs to a host elsewhere is relayed there before anything of the body is read.
 */
export function dataPolicyOf(app: FastifyInstance, useCases: UseCases, elsewhere: Elsewhere | undefined): DataPolicy {
  const decided = new WeakMap<FastifyRequest, UploadTarget | CopySource>();
  app.addHook('onRequest', async (request, reply) => {
    const target = await decide(useCases, request);
    if (elsewhere?.has(target.hostId) === true) await relayTo(elsewhere, target, request, reply);
    else decided.set(request, target);
  });
  const known = (request: FastifyRequest) => {
    const target = decided.get(request);
    if (target === undefined) throw new Error('a data route was reached without a decision');
    return target;
  };
  return {
    upload: async (request) => {
      const target = known(request);
      if (!('uploadId' in target)) throw new Error('an upload route got a copy');
      return { uploadId: target.uploadId };
    },
    copy: async (request) => {
      const target = known(request);
      if ('uploadId' in target) throw new Error('a copy route got an upload');
      const { image, storeId, key, fingerprint } = target;
      return { storeId, key, fingerprint, filename: filenameOf(request, image.name), digests: image.digests };
    },
  };
}

function decide({ uploads, images }: UseCases, request: FastifyRequest): Promise<UploadTarget | CopySource> {
  const actor = actorOf(request);
  const id = idOf(request);
  if (isUploadRoute(request)) {
    return uploads.target(actor, id, request.method === 'GET' || request.method === 'HEAD' ? 'read' : 'write');
  }
  return images.source(actor, id);
}

function isUploadRoute(request: FastifyRequest): boolean {
  return (request.routeOptions.url ?? '').includes('/uploads/:id/');
}

async function relayTo(
  elsewhere: Elsewhere,
  target: UploadTarget | CopySource,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const subject: TicketSubject =
    'uploadId' in target
      ? { kind: 'upload', uploadId: target.uploadId }
      : { kind: 'copy', storeId: target.storeId, key: target.key, fingerprint: target.fingerprint };
  const answerHeaders = 'uploadId' in target ? undefined : copyHeaders(target, request);
  const at = (access: Access): RelayTarget => ({
    url: `${access.url}${pathBelow(request)}`,
    headers: { authorization: `Bearer ${access.token}` },
    ca: access.ca ?? undefined,
    host: access.host,
    answerHeaders,
  });
  const access = await elsewhere.access(target.hostId, subject);
  await relay(request, reply, {
    ...at(access),
    renewed: async () => at(await elsewhere.access(target.hostId, subject, access)),
  });
}

/** `/data?…`, `/ranges` and so on: what comes after the id. */
function pathBelow(request: FastifyRequest): string {
  const rest = /\/(?:uploads|images)\/[^/?]+(\/[^?]*)(?:\?(.*))?$/s.exec(request.url);
  const query = new URLSearchParams(rest?.[2] ?? '');
  query.delete('filename');
  const text = query.toString();
  return `${rest?.[1] ?? ''}${text === '' ? '' : `?${text}`}`;
}

/** What control knows of a Copy and its agent does not. */
function copyHeaders({ image }: CopySource, request: FastifyRequest): Readonly<Record<string, string>> {
  if (!(request.routeOptions.url ?? '').endsWith('/data')) return {};
  const filename = filenameOf(request, image.name);
  const sha256 = image.digests.find((digest) => digest.algorithm === 'sha256');
  return {
    ...(filename === undefined ? {} : { 'content-disposition': contentDisposition(filename) }),
    ...(sha256 === undefined
      ? {}
      : { 'repr-digest': `sha-256=:${Buffer.from(sha256.hex, 'hex').toString('base64')}:` }),
  };
}

function filenameOf(request: FastifyRequest, name: string): string | undefined {
  const query = copyQuery.safeParse(request.query);
  if (!query.success) throw validationError(query.error, request.query, 'query');
  return query.data.filename === '' ? name : query.data.filename;
}

function idOf(request: FastifyRequest): string {
  const params = idParams.safeParse(request.params);
  if (!params.success) throw validationError(params.error, request.params, 'path');
  return params.data.id;
}
