import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HawserError } from '../../core/errors.ts';

/** The path is known and the method is not: 405 with `Allow` (RFC 9110, 15.5.6). */
export class MethodNotAllowed extends HawserError {
  readonly allow: string;

  constructor(request: FastifyRequest, methods: ReadonlySet<string>) {
    const allow = [...methods].sort().join(', ');
    super('unsupported', `There is no ${request.method} ${pathOf(request).slice(0, 200)}; there is ${allow}.`);
    this.allow = allow;
  }
}

interface Known {
  readonly path: RegExp;
  readonly methods: Set<string>;
}

const MISSING = 'missingRoute';

/** Notes every route that the listener gets, whoever registers it; before any is. */
export function noteRoutes(app: FastifyInstance): void {
  const known = new Map<string, Known>();
  app.addHook('onRoute', ({ url, method }) => {
    // A wildcard takes what is left over: it says nothing of a path.
    if (url.includes('*')) return;
    const { methods } = known.get(url) ?? { methods: new Set() };
    for (const one of [method].flat()) methods.add(one);
    known.set(url, { path: patternOf(url), methods });
  });
  app.decorate(MISSING, (request: FastifyRequest): HawserError => {
    const path = pathOf(request);
    const methods = new Set([...known.values()].flatMap((one) => (one.path.test(path) ? [...one.methods] : [])));
    if (methods.size > 0 && !methods.has(request.method)) return new MethodNotAllowed(request, methods);
    return new HawserError('not-found', `There is nothing at ${request.method} ${path.slice(0, 200)}.`);
  });
}

/** What to answer when no route took the request, or only a wildcard: `not-found`, or that another method is needed. */
export function missingRoute(request: FastifyRequest): HawserError {
  return request.server.getDecorator<(request: FastifyRequest) => HawserError>(MISSING)(request);
}

function pathOf(request: FastifyRequest): string {
  return request.url.replace(/[?#].*$/s, '');
}

/** `/images/:id/data` as an expression; a parameter is one segment. */
function patternOf(url: string): RegExp {
  const segments = url.split('/').map((segment) => (segment.startsWith(':') ? '[^/]+' : RegExp.escape(segment)));
  return new RegExp(`^${segments.join('/')}$`);
}
