import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { UseCases } from '../../service/control/use-cases.ts';
import type { DataPolicy } from '../_http/data-routes.ts';
import { validationError } from '../_http/validation.ts';
import { idParams } from './api-scope.ts';
import { actorOf } from './authenticate.ts';

const copyQuery = z.object({ filename: z.string().max(255).optional() });

/** On the main listener control says who may touch which bytes: the actor of the request, asked for each one. */
export function dataPolicyOf({ uploads, images }: UseCases): DataPolicy {
  return {
    upload: async (request, op) => {
      const { uploadId } = await uploads.target(actorOf(request), idOf(request), op);
      return { uploadId };
    },
    copy: async (request) => {
      const id = idOf(request);
      const query = copyQuery.safeParse(request.query);
      if (!query.success) throw validationError(query.error, request.query, 'query');
      const { image, storeId, key } = await images.source(actorOf(request), id);
      const filename = query.data.filename === '' ? image.name : query.data.filename;
      return { storeId, key, filename, digests: image.digests };
    },
  };
}

function idOf(request: FastifyRequest): string {
  const params = idParams.safeParse(request.params);
  if (!params.success) throw validationError(params.error, request.params, 'path');
  return params.data.id;
}
