import { isIP } from 'node:net';
import { HawserError } from '../../core/errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { strangeScheme } from './url-failures.ts';

/**
 * Why nothing is fetched from a URL, as far as its text tells: its scheme, and an address that it names. What a
 * name leads to is judged when it is connected to, by whoever connects.
 */
export function urlRefusal(text: string, guard: AddressGuard): HawserError | undefined {
  const url = URL.parse(text);
  if (url === null) return undefined;
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return strangeScheme(url.protocol);
  const name = url.hostname.replace(/^\[|\]$/g, '');
  const why = isIP(name) === 0 ? undefined : guard.refusal(name, name);
  if (why === undefined) return undefined;
  return new HawserError(
    'forbidden',
    `Nothing is fetched from ${url.host}: ${why}, and downloads go to the public internet only. An administrator can allow it with downloads.allow, here and on the hosts.`,
  );
}
