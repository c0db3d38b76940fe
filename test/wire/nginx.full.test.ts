import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { WebSocket } from 'ws';
import { testWith } from '../needs.ts';
import { Caller, MiB, nextUploadWorks } from './caller.ts';
import { runCli } from './cli.ts';
import { type Nginx, type NginxServers, startNginx } from './nginx.ts';
import { type Serving, startServing } from './serving.ts';

const page = fileURLToPath(new URL('../../docs/behind-a-proxy.md', import.meta.url));

testWith('nginx')(
  'the configuration in docs/behind-a-proxy.md just works: CLI, sign-in by cookie, events both ways',
  async () => {
    await using serving = await startServing();
    const documented = /```nginx\n(.*?)```/s.exec(await readFile(page, 'utf8'))?.[1] ?? '';
    await using nginx = await startNginx(({ port, proof }) =>
      documented
        .replace('server 127.0.0.1:7800;', `server ${new URL(serving.api).host};`)
        .replace('listen 443 ssl;', `listen 127.0.0.1:${port}; ${proof}`)
        .replace(/^ *ssl_.*$/gm, ''),
    );
    const url = urlOf(nginx);
    await thereAndBack(serving, nginx, { size: 40 * MiB });
    await nextUploadWorks(new Caller(url, serving.token));
    await curlLikeWholeImage(url, serving.token);

    const login = await fetch(`${url}/api/v1/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: url },
      body: JSON.stringify({ token: serving.token }),
    });
    const cookie = login.headers.getSetCookie()[0]?.split(';')[0] ?? '';
    const made = await fetch(`${url}/api/v1/uploads`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: url, cookie },
      body: JSON.stringify({ name: 'by cookie', size: 1 }),
    });
    expect(made.status).toBe(201);

    const stop = new AbortController();
    const events = await fetch(`${url}/api/v1/events`, {
      headers: { authorization: `Bearer ${serving.token}`, accept: 'text/event-stream' },
      signal: stop.signal,
    });
    const first = await events.body?.getReader().read();
    expect(Buffer.from(first?.value ?? []).toString()).toContain('"hello"');
    stop.abort();
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/events`, {
      headers: { authorization: `Bearer ${serving.token}` },
    });
    const hello = await new Promise((resolve, reject) =>
      socket.once('message', (data) => resolve(data.toString())).once('error', reject),
    );
    expect(hello).toContain('"hello"');
    socket.terminate();
  },
);

testWith('nginx')(
  'a body limit of 20 MB: requests of 64 MiB are refused, smaller ones follow, and it ends',
  async () => {
    await using serving = await startServing({ yaml: 'uploads:\n  chunkSize: 64MiB\n' });
    for (const buffering of ['on', 'off']) {
      await using nginx = await startNginx(
        plain(serving, `client_max_body_size 20m; proxy_request_buffering ${buffering};`),
      );
      await thereAndBack(serving, nginx, { size: 200 * MiB, args: ['--chunk-size', '64M'] });
    }
  },
);

testWith('nginx')('a body limit below 256 KiB: it stops, and says exactly which setting to change', async () => {
  await using serving = await startServing();
  await using nginx = await startNginx(plain(serving, 'client_max_body_size 100k;'));
  const file = join(serving.folder, 'source');
  await writeFile(file, randomBytes(8 * MiB));
  const run = await runCli(['upload', file, 'refused', '--relay'], {
    server: urlOf(nginx),
    token: serving.token,
    cwd: serving.folder,
  });
  expect(run.code).not.toBe(0);
  expect(run.stderr).toContain('413');
  expect(run.stderr).toContain('client_max_body_size');
  await nextUploadWorks(new Caller(serving.api, serving.token));
});

testWith('nginx')(
  'a timeout shorter than a request lasts: what arrived counts, requests become smaller, and it ends',
  async () => {
    await using serving = await startServing({ env: { HAWSER_LIMITS_TASK_RATE: '1MiB' } });
    for (const buffering of ['on', 'off']) {
      await using nginx = await startNginx(
        plain(
          serving,
          `proxy_read_timeout 3s; proxy_send_timeout 3s; proxy_request_buffering ${buffering}; client_max_body_size 0;`,
        ),
      );
      await thereAndBack(serving, nginx, { size: 14 * MiB });
    }
  },
);

testWith('nginx')('with buffered answers, spooled to files, what comes out is right, whole and resumed', async () => {
  await using serving = await startServing();
  await using nginx = await startNginx(
    plain(serving, 'proxy_buffering on; proxy_buffers 4 8k; client_max_body_size 0;'),
  );
  await thereAndBack(serving, nginx, { size: 96 * MiB });
});

/** One image up and down again by the CLI, all of it through nginx. */
async function thereAndBack(
  serving: Serving,
  nginx: Nginx,
  { size, args = [] }: { readonly size: number; readonly args?: readonly string[] },
): Promise<void> {
  const options = { server: urlOf(nginx), token: serving.token, cwd: serving.folder };
  const [source, target] = [join(serving.folder, 'source'), join(serving.folder, 'target')];
  const name = `through nginx ${nginx.port}`;
  const bytes = randomBytes(size);
  await writeFile(source, bytes);
  const up = await runCli(['upload', source, name, '--relay', ...args], options);
  expect(up.code, up.stderr).toBe(0);
  const down = await runCli(['download', name, target, '--relay', '--force'], options);
  expect(down.code, down.stderr).toBe(0);
  expect((await readFile(target)).equals(bytes)).toBe(true);
}

/** A PUT of all of it in one request, as `curl -T` makes it. */
async function curlLikeWholeImage(url: string, token: string): Promise<void> {
  const api = new Caller(url, token);
  const bytes = randomBytes(60 * MiB);
  const upload = await api.begin({ name: 'in one request', size: bytes.length });
  expect((await api.call('PUT', `/uploads/${upload.id}/data`, { bytes })).status).toBe(200);
  const { image } = await api.finish(upload.id);
  expect((await api.data(image.id)).equals(bytes)).toBe(true);
}

function plain(serving: Serving, directives: string): NginxServers {
  return ({ port, proof }) => `
  server {
    listen 127.0.0.1:${port};
    ${directives}
    ${proof}
    location / {
      proxy_pass ${serving.api};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }
  }`;
}

function urlOf({ port }: Nginx): string {
  return `http://127.0.0.1:${port}`;
}
