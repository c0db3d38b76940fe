import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { link, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startNginx } from '../wire/nginx.ts';
import { curlAll } from './curl.ts';
import { rangesOf } from './hawser-side.ts';
import type { Put, Side } from './side.ts';

/** nginx as a plain file server on the same filesystem: WebDAV PUT, whose temporary files lie beside their target, and GET with sendfile. */
export async function startNginxSide({
  tls = false,
  unix = false,
}: {
  readonly tls?: boolean;
  /** Clients come over a unix socket. */
  readonly unix?: boolean;
} = {}): Promise<Side> {
  const nginx = await startNginx(
    ({ port, folder, proof }) => {
      mkdirSync(join(folder, 'files'), { recursive: true });
      const secure = tls ? certificate(folder) : '';
      return `
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 75s;
  server {
    listen 127.0.0.1:${port}${tls ? ' ssl' : ''};
    ${secure}
    ${unix ? `listen unix:${folder}/nginx.sock;` : ''}
    ${proof}
    root ${folder}/files;
    client_max_body_size 0;
    client_body_temp_path ${folder}/files/.temporary;
    client_body_buffer_size 1m;
    location / { dav_methods PUT DELETE; }
  }`;
    },
    tls ? 'https' : 'http',
  );
  const files = join(nginx.folder, 'files');
  await mkdir(files, { recursive: true });
  const base = unix ? 'http://localhost' : `${tls ? 'https' : 'http'}://127.0.0.1:${nginx.port}`;
  const where = unix ? { socket: join(nginx.folder, 'nginx.sock') } : {};
  let number = 0;
  return {
    name: 'nginx',
    pid: nginx.pid,
    async put(parts): Promise<Put> {
      const mark = number++;
      return {
        send: () => curlAll(parts.map(({ file }, i) => ({ ...where, url: `${base}/put-${mark}-${i}`, file }))),
        remove: async () => {
          for (const i of parts.keys()) await rm(join(files, `put-${mark}-${i}`));
        },
      };
    },
    store: (file) => link(file, join(files, 'kept')),
    get: (streams, size) =>
      curlAll(rangesOf(streams, size).map((range) => ({ ...where, url: `${base}/kept`, ...range }))),
    [Symbol.asyncDispose]: () => nginx[Symbol.asyncDispose](),
  };
}

/** The same kind of key that Hawser makes for itself: EC P-256. */
function certificate(folder: string): string {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  return `ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3;`;
}
