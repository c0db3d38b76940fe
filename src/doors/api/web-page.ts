import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { missingRoute } from '../_http/missing-route.ts';

/** Prefixes that belong to doors: an unknown path below them is an error, never the page. */
const doorPaths = /^\/(?:api|v1|v2|tus|image|identity|sessions|data|agent|metrics|healthz|readyz|assets)(?:\/|\?|$)/;

/**
 * The page: files of the folder `root`, their compressed siblings (`.br`, `.gz`) when there, hashed
 * assets for ever, everything else asked for anew. Any other path that a browser opens is the page too:
 * its router knows it. Without `root` there is a plain page that says how to build it.
 */
export function webPage(app: FastifyInstance, root: string | undefined): void {
  if (root !== undefined) {
    app.register(fastifyStatic, {
      root,
      serve: false,
      preCompressed: true,
      cacheControl: false,
      setHeaders: (reply, path) => {
        reply.header('cache-control', cacheControl(path));
      },
    });
  }
  app.get('/*', { schema: { hide: true }, config: { quiet: true } }, (request, reply) => {
    const path = request.url.replace(/[?#].*$/s, '');
    if (root !== undefined && /\.\w+$/.test(path)) return reply.sendFile(path.slice(1));
    if (!wantsPage(request)) throw missingRoute(request);
    if (root !== undefined) return reply.sendFile('index.html');
    return reply.header('cache-control', 'no-store').type('text/html; charset=utf-8').send(missingPage);
  });
}

/** Vite puts a hash of at least eight characters into the names of what it builds. */
function cacheControl(path: string): string {
  return /-[\w-]{8,}\.\w+(?:\.(?:br|gz))?$/.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache';
}

function wantsPage(request: FastifyRequest): boolean {
  if (doorPaths.test(request.url)) return false;
  return (request.headers.accept ?? '').includes('text/html') || /^\/(?:\?|$)/.test(request.url);
}

const missingPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Hawser</title></head>
<body>
<h1>Hawser is running, its page is not built</h1>
<p>In the folder of Hawser type <code>npm run build:web</code> and start it again (<code>npm start</code> does both).</p>
<p>The API works: <a href="/api/docs">/api/docs</a>.</p>
</body>
</html>
`;
