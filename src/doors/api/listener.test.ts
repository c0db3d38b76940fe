import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { Counter } from 'prom-client';
import { expect, test } from 'vitest';
import type { DataPolicy } from '../_http/data-routes.ts';
import { createMetrics } from './metrics.ts';
import { ids } from './testing/sample-nouns.ts';
import { startApi } from './testing/start-api.ts';

const html = { accept: 'text/html,application/xhtml+xml' };

async function webFolder() {
  const path = await mkdtemp(join(tmpdir(), 'hawser-web-'));
  await writeFile(join(path, 'index.html'), '<title>the page</title>');
  await writeFile(join(path, 'index-B4x9Yq_1.js'), 'plain');
  await writeFile(join(path, 'index-B4x9Yq_1.js.br'), brotliCompressSync('packed'));
  await writeFile(join(path, 'favicon.svg'), '<svg/>');
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('the page is served for every path that a browser opens, and is asked for anew', async () => {
  await using folder = await webFolder();
  await using api = await startApi({ app: { webRoot: folder.path } });
  for (const path of ['/', '/images', `/images/${ids.image}?tab=map`, '/tasks?state=RUNNING']) {
    const answer = await fetch(api.url + path, { headers: html });
    expect([path, answer.status, await answer.text()]).toEqual([path, 200, '<title>the page</title>']);
    expect(answer.headers.get('cache-control')).toBe('no-cache');
    expect(answer.headers.get('content-security-policy')).toContain("default-src 'self'");
  }
});

test('hashed files are kept for ever and come compressed, others do not stay', async () => {
  await using folder = await webFolder();
  await using api = await startApi({ app: { webRoot: folder.path } });
  const hashed = await fetch(`${api.url}/index-B4x9Yq_1.js`, { headers: { 'accept-encoding': 'br' } });
  expect(await hashed.text()).toBe('packed');
  expect(hashed.headers.get('content-encoding')).toBe('br');
  expect(hashed.headers.get('content-type')).toContain('javascript');
  expect(hashed.headers.get('cache-control')).toContain('immutable');
  const plain = await fetch(`${api.url}/index-B4x9Yq_1.js`, { headers: { 'accept-encoding': 'identity' } });
  expect(await plain.text()).toBe('plain');
  expect((await fetch(`${api.url}/favicon.svg`)).headers.get('cache-control')).toBe('no-cache');
});

test.each([
  ['GET', '/assets/gone-12345678.js'],
  ['GET', '/api/v1/nothing'],
  ['GET', '/api/nothing'],
  ['GET', '/v1/backingimages'],
  ['POST', '/images'],
  ['GET', '/..%2f..%2fetc/passwd.txt'],
])('%s %s is a problem and never the page', async (method, path) => {
  await using folder = await webFolder();
  await using api = await startApi({ app: { webRoot: folder.path } });
  const answer = await fetch(api.url + path, { method, headers: html });
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.status).toBeLessThan(500);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
});

test('without a built page it says what to type', async () => {
  await using api = await startApi();
  const answer = await fetch(`${api.url}/`, { headers: html });
  expect(answer.status).toBe(200);
  expect(await answer.text()).toContain('npm run build:web');
});

test('readiness names what is missing', async () => {
  let up = false;
  const database = {
    name: 'database',
    check: async () => {
      if (!up) throw new Error('connect ECONNREFUSED /run/secret/pg');
    },
  };
  await using api = await startApi({ app: { ready: [database, { name: 'store', check: async () => {} }] } });
  expect((await fetch(`${api.url}/healthz`)).status).toBe(200);
  const down = await fetch(`${api.url}/readyz`);
  expect(down.status).toBe(503);
  const text = await down.text();
  expect(text).not.toContain('/run/secret');
  expect(JSON.parse(text)).toMatchObject({
    checks: [
      { name: 'database', ok: false },
      { name: 'store', ok: true },
    ],
  });
  up = true;
  expect((await fetch(`${api.url}/readyz`)).status).toBe(200);
});

test('metrics count answers by route, carry what others add, and are not for strangers', async () => {
  const metrics = createMetrics();
  new Counter({ name: 'hawser_test_total', help: 'Of another part.', registers: [metrics] }).inc(3);
  await using api = await startApi({ app: { metrics } });
  await (await api.ask('/images')).text();
  await (await api.ask(`/images/${ids.absent}`)).text();
  const text = await (await fetch(`${api.url}/metrics`)).text();
  expect(text).toContain('hawser_http_requests_total{method="GET",route="/api/v1/images",status="200"} 1');
  expect(text).toContain('hawser_http_requests_total{method="GET",route="/api/v1/images/:id",status="404"} 1');
  expect(text).toContain('hawser_test_total 3');
  expect(text).toContain('process_resident_memory_bytes');
  const far = { 'x-forwarded-for': '203.0.113.5' };
  expect((await fetch(`${api.url}/metrics`, { headers: far })).status).toBe(401);
  expect((await api.ask(`${api.url}/metrics`, { headers: far })).status).toBe(200);
});

test('the byte routes are given an actor and what control allows', async () => {
  const told: unknown[] = [];
  await using api = await startApi({
    app: {
      registerDataRoutes: (app, policy: DataPolicy) => {
        app.get('/uploads/:id/ranges', async (request) => {
          told.push(await policy.upload(request, 'read'));
          return {};
        });
        app.get('/images/:id/data', async (request) => {
          told.push(await policy.copy(request));
          return {};
        });
      },
    },
  });
  expect((await api.ask(`/uploads/${ids.upload}/ranges`)).status).toBe(200);
  expect((await api.ask(`/images/${ids.image}/data?filename=`)).status).toBe(200);
  expect(told).toEqual([
    { uploadId: ids.upload },
    { storeId: ids.store, key: 'copies/secret-key', fingerprint: null, filename: 'debian', digests: expect.any(Array) },
  ]);
  expect((await api.ask(`/uploads/${ids.absent}/ranges`)).status).toBe(404);
  expect((await api.ask('/uploads/7/ranges')).status).toBe(400);
  expect((await fetch(`${api.url}/api/v1/images/${ids.image}/data`)).status).toBe(401);
});
