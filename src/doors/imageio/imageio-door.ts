import {
  type ControlSettings,
  deleteTicket,
  getTicket,
  listTickets,
  patchTicket,
  putTicket,
} from './control-routes.ts';
import type { Exchange } from './exchange.ts';
import { get, head, type ImageSettings, options, patch, put } from './image-routes.ts';
import { algorithms, checksum, extents } from './inspection-routes.ts';
import type { Handler } from './listener.ts';
import { repr } from './python-words.ts';
import { WireError } from './wire-error.ts';

/** The version of the original whose behaviour this door has; clients ask for it. */
export const IMAGEIO_VERSION = '2.5.3';

type Methods = Readonly<Partial<Record<string, (exchange: Exchange, id: string) => Promise<void>>>>;

interface Route {
  readonly path: RegExp;
  readonly methods: Methods;
}

/** The data plane: `/images/…`, and `/info/` where `info` is. */
export function imageDoor(
  settings: ImageSettings & { readonly info?: { readonly hawser: string } | undefined },
): Handler {
  const { info } = settings;
  return router([
    { path: /^\/images\/([^\n]*)\/extents/, methods: { GET: (exchange, id) => extents(exchange, settings, id) } },
    { path: /^\/images\/([^\n]*)\/checksum\/algorithms/, methods: { GET: algorithms } },
    { path: /^\/images\/([^\n]*)\/checksum/, methods: { GET: (exchange, id) => checksum(exchange, settings, id) } },
    {
      path: /^\/images\/([^\n]*)/,
      methods: {
        OPTIONS: (exchange, id) => options(exchange, settings, id),
        GET: (exchange, id) => get(exchange, settings, id),
        HEAD: (exchange, id) => head(exchange, settings, id),
        PUT: (exchange, id) => put(exchange, settings, id),
        PATCH: (exchange, id) => patch(exchange, settings, id),
      },
    },
    ...(info === undefined
      ? []
      : [
          {
            path: /^\/info\//,
            methods: {
              GET: async (exchange: Exchange) => exchange.sendJson({ version: IMAGEIO_VERSION, hawser: info.hawser }),
            },
          },
        ]),
  ]);
}

/** The control plane: `/tickets/{id}`; ours are the list at `/tickets` and `/metrics`. */
export function controlDoor(settings: ControlSettings & { readonly metrics: () => Promise<string> }): Handler {
  return router([
    {
      path: /^\/tickets\/([^\n]*)/,
      methods: {
        GET: (exchange, id) => getTicket(exchange, settings, id),
        PUT: (exchange, id) => putTicket(exchange, settings, id),
        PATCH: (exchange, id) => patchTicket(exchange, settings, id),
        DELETE: (exchange, id) => deleteTicket(exchange, settings, id),
      },
    },
    { path: /^\/tickets$/, methods: { GET: (exchange) => listTickets(exchange, settings) } },
    {
      path: /^\/metrics$/,
      methods: {
        GET: async (exchange) => {
          exchange.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
          exchange.send(200, await settings.metrics());
        },
      },
    },
  ]);
}

/** The first path that fits decides; what follows a fitting path is ignored, as the original does it. */
function router(routes: readonly Route[]): Handler {
  return async (exchange) => {
    for (const { path, methods } of routes) {
      const match = path.exec(exchange.path);
      if (match === null) continue;
      const method = Object.hasOwn(methods, exchange.method) ? methods[exchange.method] : undefined;
      if (method === undefined) {
        throw new WireError(405, `Method ${repr(exchange.method)} not defined for ${repr(exchange.path)}`);
      }
      return await method(exchange, match[1] ?? '');
    }
    throw new WireError(404, `No handler for ${repr(exchange.path)}`);
  };
}
