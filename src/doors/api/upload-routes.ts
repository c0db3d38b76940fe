import type { FastifyInstance } from 'fastify';
import {
  dataAccess,
  finishAnswer,
  finishRequest,
  uploadPage,
  uploadQuery,
  uploadRequest,
  uploadResource,
} from '../../contract/api/upload.ts';
import { parseDigest } from '../../core/digest.ts';
import { type ApiScope, idempotencyHeaders, idParams, nothing, problems, typed } from './api-scope.ts';
import { actorOf } from './authenticate.ts';
import { imageResourceOf } from './image-resource.ts';
import { accessResourceOf, uploadResourceOf } from './upload-resource.ts';

const tags = ['uploads'];

export function uploadRoutes(app: FastifyInstance, { useCases: { uploads }, chunkSize }: ApiScope): void {
  typed(app).post(
    '/uploads',
    {
      schema: {
        operationId: 'beginUpload',
        tags,
        summary: 'Begin: space is reserved, an Image and a Task are made',
        description:
          'Repeat it with the same Idempotency-Key and get the same answer; with another request it is `conflict`.',
        headers: idempotencyHeaders,
        body: uploadRequest,
        response: { 201: uploadResource, ...problems },
      },
    },
    async (request, reply) => {
      const { digest, ...rest } = request.body;
      const upload = await uploads.begin(actorOf(request), {
        ...rest,
        digest: digest === undefined ? undefined : parseDigest(digest),
        idempotencyKey: request.headers['idempotency-key'],
      });
      reply.code(201).header('location', `${request.url.replace(/\?.*$/s, '')}/${upload.id}`);
      return reply.send(uploadResourceOf(upload, chunkSize));
    },
  );
  typed(app).get(
    '/uploads',
    {
      schema: {
        operationId: 'listUploads',
        tags,
        summary: 'Uploads, newest first: to find one again and go on',
        querystring: uploadQuery,
        response: { 200: uploadPage, ...problems },
      },
    },
    async (request) => {
      const page = await uploads.list(actorOf(request), request.query);
      return { items: page.items.map((upload) => uploadResourceOf(upload, chunkSize)), next: page.next };
    },
  );
  typed(app).get(
    '/uploads/:id',
    {
      schema: {
        operationId: 'showUpload',
        tags,
        summary: 'One Upload',
        params: idParams,
        response: { 200: uploadResource, ...problems },
      },
    },
    async (request) => uploadResourceOf(await uploads.get(actorOf(request), request.params.id), chunkSize),
  );
}

export function uploadEndRoutes(app: FastifyInstance, { useCases: { uploads }, chunkSize }: ApiScope): void {
  typed(app).delete(
    '/uploads/:id',
    {
      schema: {
        operationId: 'cancelUpload',
        tags,
        summary: 'Cancel: bytes and space are given back',
        description: 'Repeatable.',
        params: idParams,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      await uploads.cancel(actorOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );
  typed(app).get(
    '/uploads/:id/access',
    {
      schema: {
        operationId: 'uploadAccess',
        tags,
        summary: 'A ticket to send its bytes to the data listener',
        params: idParams,
        response: { 200: dataAccess, ...problems },
      },
    },
    async (request, reply) => {
      const access = await uploads.access(actorOf(request), request.params.id);
      return reply.header('cache-control', 'no-store').send(accessResourceOf(access));
    },
  );
  typed(app).post(
    '/uploads/:id/finish',
    {
      schema: {
        operationId: 'finishUpload',
        tags,
        summary: 'All bytes were sent',
        description: 'Repeatable, copies nothing. The Image is ready, or `verifying` while a flat digest is computed.',
        params: idParams,
        body: finishRequest.nullish(),
        response: { 200: finishAnswer, ...problems },
      },
    },
    async (request) => {
      const { size, digest } = request.body ?? {};
      const { upload, image } = await uploads.finish(actorOf(request), request.params.id, {
        size,
        digest: digest === undefined ? undefined : parseDigest(digest),
      });
      return { upload: uploadResourceOf(upload, chunkSize), image: imageResourceOf(image) };
    },
  );
}
