import type { FastifyRequest } from 'fastify';
import { HawserError } from '../../core/errors.ts';

/**
 * Refuses a request that a foreign page made this browser send: with a cookie, that is all it takes to
 * act in somebody's name. Browsers say where a request comes from in Sec-Fetch-Site (over TLS or on
 * loopback) and in Origin (every request that is not GET or HEAD, and every WebSocket). A request
 * with neither is no browser's, and has no business with a cookie.
 *
 * `publicOrigin` is the origin that people use when a proxy in front rewrites Host.
 */
export function requireSameOrigin(request: FastifyRequest, publicOrigin: string | undefined): void {
  const site = request.headers['sec-fetch-site'];
  if (site === 'same-origin') return;
  const origin = request.headers.origin;
  if (site === undefined && origin !== undefined && isOwnOrigin(origin, request, publicOrigin)) return;
  throw new HawserError(
    'forbidden',
    `A request that is signed in by cookie must come from Hawser's own page (${ownOrigin(request, publicOrigin)}); found ${
      origin === undefined ? 'no Origin header' : `Origin ${origin.slice(0, 200)}`
    }${site === undefined ? '' : ` and Sec-Fetch-Site ${String(site).slice(0, 20)}`}. Programs send "authorization: Bearer TOKEN" instead; behind a proxy, set publicUrl.`,
  );
}

function ownOrigin(request: FastifyRequest, publicOrigin: string | undefined): string {
  return publicOrigin ?? `${request.protocol}://${request.host}`;
}

/** The scheme is not compared with ours: a proxy in front may end TLS. Host and port must be the same. */
function isOwnOrigin(origin: string, request: FastifyRequest, publicOrigin: string | undefined): boolean {
  if (origin === publicOrigin) return true;
  const parsed = URL.parse(origin);
  if (parsed === null) return false;
  const host = URL.parse(`${parsed.protocol}//${request.host}`)?.host;
  return parsed.host !== '' && parsed.host === host;
}
