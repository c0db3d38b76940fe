import { expect, test } from 'vitest';
import { startApi } from './testing/start-api.ts';

interface Text {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, unknown>; readonly securitySchemes: object };
}

interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly tags?: readonly string[];
  readonly responses?: Record<string, { readonly description?: string; readonly content?: object }>;
}

async function openApiText(): Promise<Text> {
  await using api = await startApi();
  const answer = await fetch(`${api.url}/api/v1/openapi.json`);
  expect(answer.status).toBe(200);
  return (await answer.json()) as Text;
}

const routes = [
  'delete /hosts/{id}',
  'delete /images/{id}',
  'delete /join-tokens/{id}',
  'delete /session',
  'delete /tokens/{id}',
  'delete /uploads/{id}',
  'get /events',
  'get /hosts',
  'get /hosts/{id}',
  'get /images',
  'get /images/{id}',
  'get /images/{id}/access',
  'get /images/{id}/data',
  'get /images/{id}/extents',
  'get /images/{id}/leaves',
  'get /join-tokens',
  'get /me',
  'get /stores',
  'get /tasks',
  'get /tasks/{id}',
  'get /tasks/{id}/events',
  'get /tokens',
  'get /uploads',
  'get /uploads/{id}',
  'get /uploads/{id}/access',
  'get /uploads/{id}/leaves',
  'get /uploads/{id}/ranges',
  'head /images/{id}/data',
  'patch /hosts/{id}',
  'patch /images/{id}',
  'patch /stores/{id}',
  'post /images',
  'post /images/{id}/cleanup',
  'post /images/{id}/copies',
  'post /images/{id}/digest',
  'post /images/{id}/fetch',
  'post /images/{id}/verify',
  'post /join-tokens',
  'post /session',
  'post /tasks/{id}/cancel',
  'post /tasks/{id}/pause',
  'post /tasks/{id}/resume',
  'post /tokens',
  'post /uploads',
  'post /uploads/{id}/discard',
  'post /uploads/{id}/finish',
  'post /uploads/{id}/zeros',
  'put /me/password',
  'put /uploads/{id}/data',
];

test('the text has every route of docs/doors/api.md, the ones that move bytes too', async () => {
  const { openapi, paths } = await openApiText();
  expect(openapi).toMatch(/^3\.1\./);
  const told = Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method} ${path.replace('/api/v1', '')}`),
  );
  expect(told.sort()).toEqual(routes);
});

test('each operation has a name of its own, a summary, a family, and says how it fails', async () => {
  const { paths } = await openApiText();
  const operations = Object.values(paths).flatMap((item) => Object.values(item));
  const names = operations.map(({ operationId }) => operationId);
  expect(names).not.toContain(undefined);
  expect(new Set(names).size).toBe(names.length);
  for (const { operationId, summary, tags, responses } of operations) {
    expect(summary, operationId).toBeTruthy();
    expect(tags, operationId).toHaveLength(1);
    expect(JSON.stringify(responses?.default?.content), operationId).toContain('#/components/schemas/Problem');
  }
});

test('each reference leads somewhere and nothing is named in vain', async () => {
  const text = await openApiText();
  const asked = [...JSON.stringify(text).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map((match) => match[1] ?? '');
  expect(new Set(asked)).toEqual(new Set(Object.keys(text.components.schemas)));
  expect(Object.keys(text.components.schemas)).toEqual(expect.arrayContaining(['Image', 'Upload', 'Task', 'Problem']));
});
