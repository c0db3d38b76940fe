import { networkInterfaces } from 'node:os';
import { HawserError } from '../core/errors.ts';
import type { HttpServer } from '../doors/_http/server.ts';

export interface ReachSetting {
  readonly scheme: 'http' | 'https';
  /** What was configured; empty: what the listener says. */
  readonly url: string;
  /** Our own address on a way that others take to us, if one is known. */
  readonly via?: string | undefined;
}

/**
 * URLs at which others reach a listening server, best first: the configured one; else its address; for a
 * server on every address, those of this machine that are not its own loopback.
 */
export function reachedAt(
  { server }: Pick<HttpServer, 'server'>,
  { scheme, url, via }: ReachSetting,
): readonly string[] {
  if (url !== '') return [url.replace(/\/+$/, '')];
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new HawserError('internal', 'The listener has no address.');
  const every = address.address === '0.0.0.0' || address.address === '::';
  const hosts = every ? [...(via === undefined ? [] : [via.replace(/^::ffff:/, '')]), ...outside()] : [address.address];
  return [...new Set(hosts)].map((host) => `${scheme}://${host.includes(':') ? `[${host}]` : host}:${address.port}`);
}

/** Addresses that other machines may reach; localhost when there is none. */
function outside(): readonly string[] {
  const found = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .sort((a, b) => a.family.localeCompare(b.family))
    .map(({ address }) => address);
  return found.length > 0 ? found : ['localhost'];
}
