import type { FastifyInstance } from 'fastify';
import {
  cleanupRequest,
  copyRequest,
  digestRequest,
  imageChange,
  imageCreate,
  imagePage,
  imageQuery,
  imageResource,
} from '../../contract/api/image.ts';
import { taskResource } from '../../contract/api/task.ts';
import { dataAccess } from '../../contract/api/upload.ts';
import { parseDigest } from '../../core/digest.ts';
import { type ApiScope, idempotencyHeaders, idParams, nothing, problems, typed } from './api-scope.ts';
import { actorOf } from './authenticate.ts';
import { imageResourceOf } from './image-resource.ts';
import { taskResourceOf } from './task-resource.ts';
import { accessResourceOf } from './upload-resource.ts';

const tags = ['images'];

export function imageRoutes(app: FastifyInstance, { useCases: { images } }: ApiScope): void {
  typed(app).get(
    '/images',
    {
      schema: {
        operationId: 'listImages',
        tags,
        summary: 'Images, newest first',
        querystring: imageQuery,
        response: { 200: imagePage, ...problems },
      },
    },
    async (request) => {
      const page = await images.list(actorOf(request), request.query);
      return { items: page.items.map(imageResourceOf), next: page.next };
    },
  );
  typed(app).get(
    '/images/:id',
    {
      schema: {
        operationId: 'showImage',
        tags,
        summary: 'One Image',
        params: idParams,
        response: { 200: imageResource, ...problems },
      },
    },
    async (request) => imageResourceOf(await images.get(actorOf(request), request.params.id)),
  );
  typed(app).patch(
    '/images/:id',
    {
      schema: {
        operationId: 'changeImage',
        tags,
        summary: 'Rename it, or change how many copies it shall have and where',
        params: idParams,
        body: imageChange,
        response: { 200: imageResource, ...problems },
      },
    },
    async (request) => imageResourceOf(await images.change(actorOf(request), request.params.id, request.body)),
  );
  typed(app).delete(
    '/images/:id',
    {
      schema: {
        operationId: 'removeImage',
        tags,
        summary: 'Delete it: its Upload is cancelled, its Copies and their bytes are removed',
        description: 'Repeatable.',
        params: idParams,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      await images.remove(actorOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );
}

/** Images that agents fetch by themselves, and single Copies. */
export function copyRoutes(app: FastifyInstance, { useCases: { copies } }: ApiScope): void {
  typed(app).post(
    '/images',
    {
      schema: {
        operationId: 'createImage',
        tags,
        summary: 'Make one that a host fetches by itself: from a URL, or as a clone of another Image',
        description:
          'Answers at once; follow its Task. Repeat it with the same Idempotency-Key and get the same answer; with another request it is `conflict`.',
        headers: idempotencyHeaders,
        body: imageCreate,
        response: { 201: imageResource, ...problems },
      },
    },
    async (request, reply) => {
      const { origin, digest, ...rest } = request.body;
      const image = await copies.create(actorOf(request), {
        ...rest,
        source:
          origin.kind === 'download'
            ? { kind: 'url', url: origin.url, decompress: origin.decompress }
            : { kind: 'copy', imageId: origin.imageId },
        digest: digest === undefined ? undefined : parseDigest(digest),
        idempotencyKey: request.headers['idempotency-key'],
      });
      reply.code(201).header('location', `${request.url.replace(/\?.*$/s, '')}/${image.id}`);
      return reply.send(imageResourceOf(image));
    },
  );

  fetchRoute(app, copies);

  typed(app).post(
    '/images/:id/copies',
    {
      schema: {
        operationId: 'addCopy',
        tags,
        summary: 'One more Copy now, on this Store or a chosen one',
        description: 'Answers the Task that makes it; the one that is under way already when there is one.',
        params: idParams,
        body: copyRequest.nullish(),
        response: { 202: taskResource, ...problems },
      },
    },
    async (request, reply) => {
      const task = await copies.add(actorOf(request), request.params.id, request.body?.storeId);
      return reply.code(202).send(taskResourceOf(task));
    },
  );

  typed(app).post(
    '/images/:id/cleanup',
    {
      schema: {
        operationId: 'cleanupCopies',
        tags,
        summary: 'Remove these Copies, all or none',
        description:
          'Repeatable: those that are gone already need nothing. Refused as `in-use`, `conflict` (fewer than its minimum would be left) or `last-copy` (it could not be fetched again).',
        params: idParams,
        body: cleanupRequest,
        response: { 200: imageResource, ...problems },
      },
    },
    async (request) => imageResourceOf(await copies.cleanup(actorOf(request), request.params.id, request.body.copyIds)),
  );
}

function fetchRoute(app: FastifyInstance, copies: ApiScope['useCases']['copies']): void {
  typed(app).post(
    '/images/:id/fetch',
    {
      schema: {
        operationId: 'fetchImage',
        tags,
        summary: 'Fetch a failed download or clone once more, in its place',
        description:
          'Follow its Task. One that is being fetched already stays so. One that was ready once gets the very same bytes only. `conflict` for what is ready, and for what was uploaded: nobody else has its bytes.',
        params: idParams,
        response: { 202: imageResource, ...problems },
      },
    },
    async (request, reply) =>
      reply.code(202).send(imageResourceOf(await copies.fetch(actorOf(request), request.params.id))),
  );
}

export function imageWorkRoutes(app: FastifyInstance, { useCases: { images } }: ApiScope): void {
  typed(app).get(
    '/images/:id/access',
    {
      schema: {
        operationId: 'imageAccess',
        tags,
        summary: 'A short-lived ticket to read it from the data listener',
        params: idParams,
        response: { 200: dataAccess, ...problems },
      },
    },
    async (request, reply) => {
      const access = await images.access(actorOf(request), request.params.id);
      return reply.header('cache-control', 'no-store').send(accessResourceOf(access));
    },
  );
  typed(app).post(
    '/images/:id/verify',
    {
      schema: {
        operationId: 'verifyImage',
        tags,
        summary: 'A Task that reads all of it and compares it with its digests',
        params: idParams,
        response: { 202: taskResource, ...problems },
      },
    },
    async (request, reply) => {
      const task = await images.verify(actorOf(request), request.params.id);
      return reply.code(202).send(taskResourceOf(task));
    },
  );
  typed(app).post(
    '/images/:id/digest',
    {
      schema: {
        operationId: 'digestImage',
        tags,
        summary: 'A Task that computes a flat digest',
        params: idParams,
        body: digestRequest,
        response: { 202: taskResource, ...problems },
      },
    },
    async (request, reply) => {
      const task = await images.digest(actorOf(request), request.params.id, request.body.algorithm);
      return reply.code(202).send(taskResourceOf(task));
    },
  );
}
