import { isIP } from 'node:net';
import type { Config } from '../config/schema.ts';
import { HawserError } from '../core/errors.ts';
import type { HttpServer } from '../doors/_http/server.ts';
import type { DataFolder } from '../host/data-folder.ts';

export interface TlsChoice {
  /** Undefined: plain HTTP. */
  readonly keys: { readonly key: string; readonly cert: string } | undefined;
  /** PEM that clients verify it with when they do not know it otherwise: our own certificate. */
  readonly ca?: string | undefined;
}

/** `host:port` as listen() wants it; `[::1]:0` too. */
export function listenAddress(text: string): { readonly host: string; readonly port: number } {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(text.slice(colon + 1));
  if (port > 65_535) throw new HawserError('bad-request', `The port of the address ${text} is larger than 65535.`);
  return { host, port };
}

/** Listens where the setting says. Throws what to do when that cannot be. */
export async function listen(
  server: Pick<HttpServer, 'listen'>,
  setting: 'listen' | 'dataListen' | 'agentListen',
  text: string,
): Promise<void> {
  try {
    await server.listen(listenAddress(text));
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const variable = variables[setting];
    const why = listenFailures.get(errno);
    if (why === undefined) throw cause;
    throw new HawserError(
      errno === 'EADDRINUSE' ? 'in-use' : 'bad-request',
      `Hawser cannot listen at ${text} (${setting}): ${why}, or choose another address with ${variable}.`,
      { cause },
    );
  }
}

const variables = {
  listen: 'HAWSER_LISTEN',
  dataListen: 'HAWSER_DATA_LISTEN',
  agentListen: 'HAWSER_AGENT_LISTEN',
} as const;

const listenFailures: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'another program does. Stop that one'],
  ['EACCES', 'this user may not. Ports below 1024 are for root: take a higher one'],
  ['EADDRNOTAVAIL', 'this machine does not have that address. Give one that it has'],
  ['ENOTFOUND', 'no such name is known. Give an address of this machine'],
  ['EAI_AGAIN', 'that name cannot be looked up now. Give an address of this machine'],
]);

export function isLoopback(address: string): boolean {
  const { host } = listenAddress(address);
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Whether a listener speaks TLS, as `tls.mode` says: by default only one that others can reach. */
export function wantsTls({ tls }: Config, address: string): boolean {
  return tls.mode === 'on' || (tls.mode === 'auto' && !isLoopback(address));
}

/** TLS for both listeners, with the configured certificate or one of our own. */
export async function tlsFor(
  config: Config,
  folder: DataFolder,
  now: Date,
): Promise<{ readonly main: TlsChoice; readonly data: TlsChoice }> {
  const wants = (address: string) => wantsTls(config, address);
  if (!wants(config.listen) && !wants(config.dataListen))
    return { main: { keys: undefined }, data: { keys: undefined } };
  const { ownTlsKeys, readTlsKeys } = await import('../host/tls.ts');
  const own = config.tls.cert === '' && config.tls.key === '';
  const keys = own ? await ownTlsKeys(folder.at, now) : await readTlsKeys(config.tls.cert, config.tls.key);
  const choice = { keys, ca: own ? keys.cert : undefined };
  const without = { keys: undefined };
  return { main: wants(config.listen) ? choice : without, data: wants(config.dataListen) ? choice : without };
}

/** Where a listening server is reached. One that listens on every address is named by localhost. */
export function urlOf(server: HttpServer, tls: TlsChoice): string {
  const address = server.server.address();
  if (address === null || typeof address === 'string')
    throw new HawserError('internal', 'The listener has no address.');
  const every = address.address === '0.0.0.0' || address.address === '::';
  const host = every ? 'localhost' : address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${tls.keys === undefined ? 'http' : 'https'}://${host}:${address.port}`;
}
