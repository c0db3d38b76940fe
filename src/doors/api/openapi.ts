import fastifySwagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { API_PREFIX, problem } from '../../contract/api/common.ts';
import { apiEvent } from '../../contract/api/events.ts';
import { hostList, hostResource, joinTokenCreated, joinTokenList, joinTokenResource } from '../../contract/api/host.ts';
import { copyResource, extentList, imagePage, imageResource } from '../../contract/api/image.ts';
import { me, tokenAnswer, tokenList, tokenResource } from '../../contract/api/session.ts';
import { storeList, storeResource } from '../../contract/api/store.ts';
import { taskEventResource, taskPage, taskResource } from '../../contract/api/task.ts';
import {
  dataAccess,
  receipt,
  receivedRanges,
  uploadPage,
  uploadRequest,
  uploadResource,
  zerosRequest,
} from '../../contract/api/upload.ts';
import { LOGIN_COOKIE } from './authenticate.ts';
import { dataPaths } from './data-paths.ts';

/**
 * The OpenAPI 3.1 text of all routes below `API_PREFIX` at `API_PREFIX/openapi.json`. Register it
 * before the routes: it listens to their registration.
 */
export async function openApi(app: FastifyInstance, version: string): Promise<void> {
  const schemaRegistry = named();
  const transform = createJsonSchemaTransform({ schemaRegistry });
  const byHand = dataPaths();
  await app.register(fastifySwagger, {
    openapi: { openapi: '3.1.0', ...about(version) },
    transform: (route) => {
      const path = route.url.replaceAll(/:(\w+)/g, '{$1}');
      const told = path.startsWith(`${API_PREFIX}/`) && !(path in byHand);
      return told ? transform(route) : { schema: { ...route.schema, hide: true }, url: route.url };
    },
    transformObject: createJsonSchemaTransformObject({ schemaRegistry }),
  });
  let text: string | undefined;
  app.get(
    `${API_PREFIX}/openapi.json`,
    { schema: { hide: true }, config: { quiet: true } },
    async (_request, reply) => {
      text ??= JSON.stringify(withoutUnused({ ...app.swagger() }, byHand));
      return reply.header('cache-control', 'no-cache').type('application/json').send(text);
    },
  );
}

function about(version: string): NonNullable<FastifyDynamicSwaggerOptions['openapi']> {
  return {
    info: {
      title: 'Hawser',
      version,
      description:
        'Moves disk images in and out: resumable, verified, sparse-aware. Errors are RFC 9457 problems with a `code`; lists are pages with a cursor; sizes are bytes; times are UTC.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [],
    security: [{ token: [] }, { cookie: [] }],
    tags: [
      { name: 'images', description: 'Named bytes that never change once ready.' },
      { name: 'uploads', description: 'Unfinished inbound Copies: ranges in any order, resumable.' },
      { name: 'tasks', description: 'Long work that can be seen, paused and cancelled.' },
      { name: 'stores', description: 'Where bytes are kept.' },
      { name: 'hosts', description: 'Machines with an agent and its Stores, and how new ones join.' },
      { name: 'session', description: 'Who am I.' },
      { name: 'tokens', description: 'API tokens.' },
      { name: 'events', description: 'Live state.' },
    ],
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'The admin token or an API token.' },
        cookie: { type: 'apiKey', in: 'cookie', name: LOGIN_COOKIE, description: 'Set by POST /session.' },
      },
    },
  };
}

/** Schemas that the text names once and refers to. */
function named() {
  const registry = z.registry<{ id: string }>();
  const schemas = {
    Problem: problem,
    Me: me,
    Token: tokenResource,
    NewToken: tokenAnswer,
    TokenList: tokenList,
    Copy: copyResource,
    Image: imageResource,
    ImagePage: imagePage,
    ExtentList: extentList,
    UploadRequest: uploadRequest,
    Upload: uploadResource,
    UploadPage: uploadPage,
    DataAccess: dataAccess,
    ReceivedRanges: receivedRanges,
    Receipt: receipt,
    ZerosRequest: zerosRequest,
    Task: taskResource,
    TaskPage: taskPage,
    TaskEvent: taskEventResource,
    Store: storeResource,
    StoreList: storeList,
    Host: hostResource,
    HostList: hostList,
    JoinToken: joinTokenResource,
    NewJoinToken: joinTokenCreated,
    JoinTokenList: joinTokenList,
    Event: apiEvent,
  };
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema, { id });
  return registry;
}

interface Document {
  readonly paths?: object;
  readonly components?: { readonly schemas?: Readonly<Record<string, unknown>> };
}

/**
 * The text with the paths that are written by hand. Each named schema comes as what goes in and as
 * what comes out (`…Input`); what nothing refers to is left out.
 */
function withoutUnused(document: Document, byHand: object): Document {
  const paths = { ...document.paths, ...byHand };
  let schemas = document.components?.schemas ?? {};
  for (;;) {
    const text = JSON.stringify([paths, schemas]);
    const used = Object.entries(schemas).filter(([name]) => text.includes(`"#/components/schemas/${name}"`));
    if (used.length === Object.keys(schemas).length) break;
    schemas = Object.fromEntries(used);
  }
  return { ...document, paths, components: { ...document.components, schemas } };
}
