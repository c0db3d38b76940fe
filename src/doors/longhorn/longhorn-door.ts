import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { parseDigest } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';
import type { Actor, Placement } from '../../core/nouns.ts';
import type { NameLocks } from '../../service/control/ports.ts';
import { missingRoute } from '../_http/missing-route.ts';
import { backingImageActions } from './actions.ts';
import { BackingImages, type BackingImageUseCases } from './backing-images.ts';
import { baseOf, collection, versionResource } from './collection.ts';
import { type DownloadSettings, downloadRoute } from './download.ts';
import { schemas } from './schemas.ts';
import { type LonghornScope, nameOf, notUnderstood } from './scope.ts';
import { rancherErrors } from './server-error.ts';
import { UploadServerClient, type UploadServerKeys } from './upload-server-client.ts';
import { watchRoutes } from './watch.ts';

export interface LonghornSettings extends DownloadSettings {
  readonly useCases: BackingImageUseCases;
  /** Names are unique at this door. */
  readonly nameLocks: NameLocks;
  /** Who asks. Throws `unauthenticated`, `forbidden`. */
  readonly authenticate: (request: FastifyRequest) => Promise<Actor>;
  /** What upload servers are spoken to with; undefined: they are open. */
  readonly uploadServerKeys: () => UploadServerKeys | undefined;
  readonly publicUrl: string | undefined;
}

/** Longhorn's API of backing images below `/v1` of the main listener; facts and differences: docs/doors/longhorn.md. */
export async function longhornDoor(server: FastifyInstance, settings: LonghornSettings): Promise<void> {
  const client = new UploadServerClient(settings.uploadServerKeys);
  const scope: LonghornScope = {
    images: new BackingImages(settings.useCases, settings.nameLocks),
    client,
    actorOf: (request) => request.getDecorator<Actor>('backingImageActor'),
    baseOf: (request) => baseOf(request, settings.publicUrl),
  };
  await server.register(
    async (app) => {
      rancherErrors(app);
      app.decorateRequest('backingImageActor', null);
      app.addHook('onRequest', async (request) => {
        request.setDecorator<Actor>('backingImageActor', await settings.authenticate(request));
      });
      app.addHook('onClose', async () => client.close());
      app.get('/', { schema: { hide: true } }, async (request) => versionResource(scope.baseOf(request)));
      app.get('/schemas', { schema: { hide: true } }, async (request) => schemas(scope.baseOf(request)));
      app.get('/schemas/:id', { schema: { hide: true } }, async (request) => schemaOf(request, scope.baseOf(request)));
      resourceRoutes(app, scope);
      downloadRoute(app, scope, settings);
      watchRoutes(app, scope);
      await app.register(async (inner) => backingImageActions(inner, scope));
      // Also what is not here is said in Rancher's words; the page's wildcard would take it otherwise.
      app.setNotFoundHandler(async (request) => {
        throw missingRoute(request);
      });
      app.get('/*', { schema: { hide: true } }, async (request) => {
        throw missingRoute(request);
      });
    },
    { prefix: '/v1' },
  );
}

function schemaOf(request: FastifyRequest, base: string) {
  const { id } = request.params as { readonly id: string };
  const found = schemas(base).data.find((schema) => schema.id.toLowerCase() === id.toLowerCase());
  if (found !== undefined) return found;
  throw new HawserError('not-found', `There is no schema "${id.slice(0, 50)}"; see /v1/schemas.`);
}

/** What the schema calls nullable may be null, which is the same as nothing. */
const createBody = z.object({
  name: z.string().min(1).max(255),
  sourceType: z.string(),
  parameters: z.record(z.string(), z.string()),
  expectedChecksum: z.string().nullish(),
  minNumberOfCopies: z.number().int().min(0).max(20).nullish(),
  nodeSelector: z.array(z.string()).nullish(),
  diskSelector: z.array(z.string()).nullish(),
  dataEngine: z.enum(['v1', '']).nullish(),
  secret: z.literal('').nullish(),
  secretNamespace: z.string().nullish(),
});
type CreateBody = z.output<typeof createBody>;

function resourceRoutes(app: FastifyInstance, { images, actorOf, baseOf: base }: LonghornScope): void {
  const hidden = { schema: { hide: true } };
  app.get('/backingimages', hidden, async (request) =>
    collection(base(request), 'backingImage', await images.list(actorOf(request), base(request))),
  );
  app.get('/backingimages/:name', hidden, async (request) =>
    images.show(actorOf(request), nameOf(request), base(request)),
  );
  app.delete('/backingimages/:name', hidden, async (request, reply) => {
    await images.remove(actorOf(request), nameOf(request));
    return reply.code(200).send();
  });
  app.post('/backingimages', hidden, async (request) => {
    const parsed = createBody.safeParse(request.body);
    if (!parsed.success) throw notUnderstood(parsed.error);
    return images.create(actorOf(request), createOf(parsed.data), base(request));
  });
}

function createOf(body: CreateBody) {
  const placement: Partial<Placement> = {
    minCopies: Math.max(1, body.minNumberOfCopies ?? 1),
    storeTags: body.diskSelector ?? [],
    hostTags: body.nodeSelector ?? [],
  };
  return {
    name: body.name,
    sourceType: body.sourceType,
    parameters: body.parameters,
    digest: body.expectedChecksum ? parseDigest(`sha512:${body.expectedChecksum}`) : undefined,
    placement,
  };
}
