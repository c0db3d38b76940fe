import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { problem, uuid } from '../../contract/api/common.ts';
import type { UseCases } from '../../service/control/use-cases.ts';
import { PROBLEM_TYPE } from '../_http/problem.ts';

/** What the route files of this door share. */
export interface ApiScope {
  readonly useCases: UseCases;
  readonly version: string;
  /** Bytes that clients are told to send in one PUT. */
  readonly chunkSize: number;
}

/** The instance with zod's types. Routes are given to it in one file a family. */
export function typed(app: FastifyInstance) {
  return app.withTypeProvider<ZodTypeProvider>();
}

export const idParams = z.object({ id: uuid });

/** The answer of a route that has nothing to say: 204. */
export const nothing = z.null().describe('Done.');

/** For the `response` of every route: any error, as the OpenAPI text tells it. */
export const problems = {
  default: {
    description: 'Refused or failed: `code` says why (docs/errors.md), `detail` what to do.',
    content: { [PROBLEM_TYPE]: { schema: problem } },
  },
};

export const idempotencyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe('Anything unique; the same key with the same request gets the same answer.'),
});
