import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { type FastifyInstance, fastify } from 'fastify';
import { API_PREFIX } from '../../contract/api/common.ts';

/**
 * `/api/docs`: the API as a page to read and try. Everything comes from here: no CDN, no fonts, no
 * telemetry, and the content security policy lets nothing else in. The bundle (4 MiB) is loaded when
 * the page is first opened.
 */
export function docsPage(app: FastifyInstance): void {
  const hidden = { config: { quiet: true }, schema: { hide: true } };
  app.get('/api/docs', hidden, async (_request, reply) => reply.type('text/html; charset=utf-8').send(page));
  app.get('/api/docs/', hidden, async (_request, reply) => reply.redirect('/api/docs', 301));
  app.get('/api/docs/start.js', hidden, async (_request, reply) => reply.type('text/javascript').send(start));
  let bundle: Promise<Buffer> | undefined;
  app.get('/api/docs/scalar.js', hidden, async (_request, reply) => {
    bundle ??= compressedBundle();
    return reply
      .header('cache-control', 'public, max-age=86400')
      .header('content-encoding', 'gzip')
      .type('text/javascript')
      .send(await bundle);
  });
}

/** The package gives its bundle only through a route of its plugin: it is asked for there, once. */
async function compressedBundle(): Promise<Buffer> {
  const { default: scalar } = await import('@scalar/fastify-api-reference');
  const shelf = fastify();
  await shelf.register(scalar, { routePrefix: '/docs', configuration: { url: '/none' } });
  const { rawPayload } = await shelf.inject('/docs/js/scalar.js');
  await shelf.close();
  return promisify(gzip)(rawPayload);
}

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hawser API</title>
<link rel="icon" href="data:,">
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript. The text itself is at ${API_PREFIX}/openapi.json.</noscript>
<script src="/api/docs/scalar.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
`;

const settings = {
  url: `${API_PREFIX}/openapi.json`,
  withDefaultFonts: false,
  telemetry: false,
  proxyUrl: '',
  hideClientButton: true,
  showDeveloperTools: 'never',
  agent: { disabled: true },
  mcp: { disabled: true },
  externalUrls: {},
};

const start = `Scalar.createApiReference('#app', ${JSON.stringify(settings)});\n`;
