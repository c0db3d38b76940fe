import fastifyCookie from '@fastify/cookie';
import fastifyWebsocket from '@fastify/websocket';
import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import { API_PREFIX } from '../../contract/api/common.ts';
import type { UseCases } from '../../service/control/use-cases.ts';
import type { DataPolicy } from '../_http/data-routes.ts';
import type { ApiScope } from './api-scope.ts';
import { credentialOf, requireActor } from './authenticate.ts';
import { dataPolicyOf, type Elsewhere } from './data-policy.ts';
import { docsPage } from './docs-page.ts';
import { type EventSettings, eventRoutes, usualEvents } from './event-routes.ts';
import { healthRoutes, type ReadyCheck } from './health-routes.ts';
import { hostRoutes, joinTokenRoutes } from './host-routes.ts';
import { copyRoutes, imageRoutes, imageWorkRoutes } from './image-routes.ts';
import { LoginLimit } from './login-limit.ts';
import { measureRequests, metricsRoute } from './metrics.ts';
import { openApi } from './openapi.ts';
import { accountRoutes, loginRoutes, tokenRoutes } from './session-routes.ts';
import { storeRoutes } from './store-routes.ts';
import { taskRoutes } from './task-routes.ts';
import { uploadEndRoutes, uploadRoutes } from './upload-routes.ts';
import { webPage } from './web-page.ts';

export interface ApiAppSettings {
  readonly useCases: UseCases;
  /** From `createServer`; other doors may mount on it too, before it listens. */
  readonly server: FastifyInstance;
  readonly version: string;
  /** Bytes that clients are told to send in one PUT. */
  readonly chunkSize: number;
  /**
   * Mounts the byte routes below `/uploads/:id` and `/images/:id` of an instance that has the API's
   * prefix and wants an actor. `policy` is what control allows; what is not of this process has been relayed
   * before a handler is called.
   */
  readonly registerDataRoutes: (app: FastifyInstance, policy: DataPolicy) => void | Promise<void>;
  /** Hosts whose agents are in other processes; undefined: there are none. */
  readonly elsewhere?: Elsewhere | undefined;
  readonly ready: readonly ReadyCheck[];
  /** Folder of the built page, with an index.html; undefined: it was not built. */
  readonly webRoot: string | undefined;
  /** The URL people use when a proxy stands in front. */
  readonly publicUrl: string | undefined;
  readonly metrics: Registry;
  /** Milliseconds; never runs backwards. */
  readonly now: () => number;
  readonly events?: EventSettings | undefined;
}

/** The native API, its OpenAPI text and page, health, metrics, and the web page, on the main listener. */
export async function createApiApp(settings: ApiAppSettings): Promise<void> {
  const { server, useCases, version, chunkSize } = settings;
  const publicOrigin = settings.publicUrl === undefined ? undefined : new URL(settings.publicUrl).origin;
  const scope: ApiScope = { useCases, version, chunkSize };
  const limit = new LoginLimit({ failures: 10, windowSeconds: 60, now: settings.now });

  measureRequests(server, settings.metrics);
  await server.register(fastifyCookie);
  // Clients send nothing but pongs.
  await server.register(fastifyWebsocket, { options: { maxPayload: 4096 } });
  await openApi(server, version);
  await server.register(
    async (app) => mildJson(app).register(async (inner) => loginRoutes(inner, scope, { limit, publicOrigin })),
    {
      prefix: API_PREFIX,
    },
  );
  await server.register(
    async (app) => {
      requireActor(app, { accounts: useCases.accounts, publicOrigin });
      await app.register(async (inner) =>
        settings.registerDataRoutes(inner, dataPolicyOf(inner, useCases, settings.elsewhere)),
      );
      await app.register(async (inner) => {
        mildJson(inner);
        accountRoutes(inner, scope, limit);
        tokenRoutes(inner, scope);
        imageRoutes(inner, scope);
        copyRoutes(inner, scope);
        imageWorkRoutes(inner, scope);
        uploadRoutes(inner, scope);
        uploadEndRoutes(inner, scope);
        taskRoutes(inner, scope);
        storeRoutes(inner, scope);
        hostRoutes(inner, scope);
        joinTokenRoutes(inner, scope);
        eventRoutes(inner, scope, settings.events ?? usualEvents);
      });
    },
    { prefix: API_PREFIX },
  );
  healthRoutes(server, settings.ready);
  metricsRoute(server, settings.metrics, async (request) => useCases.accounts.actorOf(credentialOf(request)));
  docsPage(server);
  webPage(server, settings.webRoot);
}

/** Many clients say content-type: application/json and send nothing (DELETE, POST …/pause): that is no error by itself. */
function mildJson(app: FastifyInstance): FastifyInstance {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    const text = body.toString();
    if (text === '') return done(null, undefined);
    return parse(request, text, done);
  });
  return app;
}
