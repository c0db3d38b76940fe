import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface Nginx extends AsyncDisposable {
  readonly port: number;
  /** Its folder; `files/` below it is for whatever is served. */
  readonly folder: string;
  /** The master; its children are the workers. */
  readonly pid: number;
}

export interface NginxConfig {
  readonly port: number;
  readonly folder: string;
  /** A location to put into the server: it proves that the one who answers is ours. */
  readonly proof: string;
}

/** Directives for the `http` block, above all a server on `port`. */
export type NginxServers = (config: NginxConfig) => string;

/** A real nginx with a configuration and a folder of its own, ended with its master. */
export async function startNginx(servers: NginxServers, scheme: 'http' | 'https' = 'http'): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-nginx-'));
  for (let attempt = 0; ; attempt++) {
    const port = await freePort();
    const mark = randomUUID();
    const proof = `location = /proof-${mark} { return 200 "${mark}"; }`;
    await writeFile(join(folder, 'nginx.conf'), configOf(folder, servers({ port, folder, proof })));
    const child = spawn(
      '/usr/sbin/nginx',
      ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    if (await answers(child, `${scheme}://127.0.0.1:${port}/proof-${mark}`, mark)) {
      return {
        port,
        folder,
        pid: child.pid ?? 0,
        async [Symbol.asyncDispose]() {
          await end(child);
          await rm(folder, { recursive: true, force: true });
        },
      };
    }
    await end(child);
    if (attempt < 5 && /Address already in use/.test(said)) continue;
    await rm(folder, { recursive: true, force: true });
    throw new Error(`nginx did not start: ${said}`);
  }
}

function configOf(folder: string, servers: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes auto;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log notice;
events { worker_connections 1024; }
http {
  access_log off;
  default_type application/octet-stream;
  ${temporary.map((name) => `${name}_temp_path ${folder}/temp-${name};`).join('\n  ')}
${servers}
}
`;
}

/** A port that is free now; that nginx got it is proven afterwards. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

async function answers(child: ChildProcess, url: string, mark: string): Promise<boolean> {
  while (child.exitCode === null && child.signalCode === null) {
    if ((await ask(url).catch(() => undefined)) === mark) return true;
    await delay(50);
  }
  return false;
}

async function ask(url: string): Promise<string> {
  if (!url.startsWith('https:')) return (await fetch(url)).text();
  const { get } = await import('node:https');
  return new Promise((resolve, reject) => {
    const request = get(url, { rejectUnauthorized: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.once('end', () => resolve(text));
    });
    request.once('error', reject);
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}
