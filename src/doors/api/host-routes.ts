import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import {
  hostChange,
  hostList,
  hostResource,
  joinTokenCreated,
  joinTokenList,
  joinTokenRequest,
} from '../../contract/api/host.ts';
import { type ApiScope, idParams, nothing, problems, typed } from './api-scope.ts';
import { actorOf } from './authenticate.ts';
import { hostResourceOf, joinTokenResourceOf } from './host-resource.ts';

const tags = ['hosts'];
const removal = z.object({
  force: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Also when Copies are counted on it: their bytes are lost for good.'),
});

export function hostRoutes(app: FastifyInstance, { useCases: { hosts } }: ApiScope): void {
  typed(app).get(
    '/hosts',
    {
      schema: {
        operationId: 'listHosts',
        tags,
        summary: 'Machines with an agent, their state and capacity',
        response: { 200: hostList, ...problems },
      },
    },
    async (request) => ({ items: (await hosts.list(actorOf(request))).map(hostResourceOf) }),
  );
  typed(app).get(
    '/hosts/:id',
    {
      schema: {
        operationId: 'getHost',
        tags,
        summary: 'One host',
        params: idParams,
        response: { 200: hostResource, ...problems },
      },
    },
    async (request) => hostResourceOf(await hosts.get(actorOf(request), request.params.id)),
  );
  typed(app).patch(
    '/hosts/:id',
    {
      schema: {
        operationId: 'changeHost',
        tags,
        summary: 'Enable, disable or drain it (evicting), or give it tags',
        params: idParams,
        body: hostChange,
        response: { 200: hostResource, ...problems },
      },
    },
    async (request) => hostResourceOf(await hosts.change(actorOf(request), request.params.id, request.body)),
  );
  typed(app).delete(
    '/hosts/:id',
    {
      schema: {
        operationId: 'removeHost',
        tags,
        summary: 'Take it out, once its agent is stopped and it is drained',
        params: idParams,
        querystring: removal,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      const force = request.query.force === 'true';
      await hosts.remove(actorOf(request), request.params.id, { force });
      return reply.code(204).send(null);
    },
  );
}

export function joinTokenRoutes(app: FastifyInstance, { useCases: { hosts } }: ApiScope): void {
  typed(app).get(
    '/join-tokens',
    {
      schema: {
        operationId: 'listJoinTokens',
        tags,
        summary: 'Rights to join; their secrets are not kept',
        response: { 200: joinTokenList, ...problems },
      },
    },
    async (request) => ({ items: (await hosts.joinTokens(actorOf(request))).map(joinTokenResourceOf) }),
  );
  typed(app).post(
    '/join-tokens',
    {
      schema: {
        operationId: 'createJoinToken',
        tags,
        summary: 'A right to join, for one new host; its secret is shown this once',
        body: joinTokenRequest,
        response: { 201: joinTokenCreated, ...problems },
      },
    },
    async (request, reply) => {
      const made = await hosts.createJoinToken(actorOf(request), request.body);
      return reply.code(201).send({ ...joinTokenResourceOf(made), secret: made.secret, warning: made.warning });
    },
  );
  typed(app).delete(
    '/join-tokens/:id',
    {
      schema: {
        operationId: 'removeJoinToken',
        tags,
        summary: 'Take a right to join back',
        params: idParams,
        response: { 204: nothing, ...problems },
      },
    },
    async (request, reply) => {
      await hosts.removeJoinToken(actorOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );
}
