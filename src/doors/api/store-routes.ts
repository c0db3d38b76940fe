import type { FastifyInstance } from 'fastify';
import { storeChange, storeList, storeResource } from '../../contract/api/store.ts';
import { type ApiScope, idParams, problems, typed } from './api-scope.ts';
import { actorOf } from './authenticate.ts';
import { storeResourceOf } from './store-resource.ts';

const tags = ['stores'];

export function storeRoutes(app: FastifyInstance, { useCases: { stores } }: ApiScope): void {
  typed(app).get(
    '/stores',
    {
      schema: {
        operationId: 'listStores',
        tags,
        summary: 'Stores with their capacity and state',
        response: { 200: storeList, ...problems },
      },
    },
    async (request) => ({ items: (await stores.list(actorOf(request))).map(storeResourceOf) }),
  );
  typed(app).patch(
    '/stores/:id',
    {
      schema: {
        operationId: 'changeStore',
        tags,
        summary: 'Enable, disable or empty it (evicting), or give it tags',
        params: idParams,
        body: storeChange,
        response: { 200: storeResource, ...problems },
      },
    },
    async (request) => storeResourceOf(await stores.change(actorOf(request), request.params.id, request.body)),
  );
}
