import { readFile, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { ImageioImage, type Offer } from '../client/imageio-image.ts';
import { parseTransferUrl, type TransferUrl } from '../client/imageio-words.ts';
import { systemClock } from '../client/system-clock.ts';
import { HawserError } from '../core/errors.ts';
import { dataDirOf } from './data-dir.ts';
import { readAddresses } from './local-addresses.ts';
import { HttpConnection } from './node/http-connection.ts';
import { NodeTransport } from './node/node-transport.ts';
import type { GlobalOptions } from './terminal.ts';

export interface TicketImage extends Disposable {
  readonly image: ImageioImage;
  readonly offer: Offer;
}

/**
 * The image behind a ticket's transfer URL, asked once what it offers. A server on this machine that tells its unix
 * socket is spoken to over that, as oVirt's own clients do: it costs half.
 */
export async function openTicketImage(text: string, options: GlobalOptions, signal: AbortSignal): Promise<TicketImage> {
  const where = parseTransferUrl(text);
  const given = await open(where, await trusted(where, options), signal);
  const { unixSocket } = given.offer;
  // An abstract name has another length in Node than for everybody else.
  if (where.socketPath !== undefined || unixSocket === undefined || !unixSocket.startsWith('/')) return given;
  if (!(await isThisMachine(where.url)) || !(await isTrustworthy(unixSocket))) return given;
  try {
    const url = where.url.replace(/^https?:\/\/[^/]+/, 'http://localhost');
    const local = await open({ ...where, url, socketPath: unixSocket }, undefined, signal);
    given[Symbol.dispose]();
    return local;
  } catch {
    // It is the socket of another machine behind a tunnel, or not for us: what works is there already.
    signal.throwIfAborted();
    return given;
  }
}

/** Options of the command that are about Images of a server, and mean nothing with a ticket. */
export function refuseOptions(options: Readonly<Record<string, unknown>>, names: readonly string[]): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  const flag = `--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  throw new HawserError('bad-request', `${flag} does not go with the URL of a ticket.`);
}

async function open(where: TransferUrl, ca: string | undefined, signal: AbortSignal): Promise<TicketImage> {
  const connection = new HttpConnection({ ca, socketPath: where.socketPath });
  try {
    const transport = new NodeTransport(connection);
    const image = new ImageioImage({ where, fetch: connection.fetch, transport, clock: systemClock, signal });
    return { image, offer: await image.offer(), [Symbol.dispose]: () => connection[Symbol.dispose]() };
  } catch (error) {
    connection[Symbol.dispose]();
    throw error;
  }
}

/** PEM: `--ca`, HAWSER_CA, or for the server of this machine its own certificate. */
async function trusted({ url }: TransferUrl, options: GlobalOptions): Promise<string | undefined> {
  const path = options.ca ?? (process.env.HAWSER_CA || undefined);
  if (path !== undefined) return await readFile(path, 'utf8');
  const folder = dataDirOf(options.dataDir);
  const addresses = await readAddresses(folder);
  const own = addresses?.imageioHttps;
  if (own === undefined || placeOf(own) !== placeOf(url)) return undefined;
  return await readFile(join(folder, 'keys', 'server.crt'), 'utf8').catch(() => undefined);
}

/** The origin; all names of the machine itself are one. */
function placeOf(url: string): string {
  const { hostname, origin, port } = new URL(url);
  return /^(?:localhost|127\.0\.0\.1|\[::1\])$/.test(hostname) ? `here:${port}` : origin;
}

/**
 * Whether nobody but root and ourselves can have put the socket there. The server at the end of a tunnel names a path of
 * its own machine, and whoever made that path here would be shown the ticket.
 */
async function isTrustworthy(socketPath: string): Promise<boolean> {
  const folder = await stat(dirname(socketPath)).catch(() => undefined);
  if (folder === undefined) return false;
  return [0, process.getuid?.()].includes(folder.uid) && (folder.mode & 0o002) === 0;
}

/** Both ends of a connection have one address. */
function isThisMachine(url: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) || (protocol === 'https:' ? 443 : 80) });
    const done = (same: boolean) => {
      socket.destroy();
      resolve(same);
    };
    socket.once('connect', () => done(socket.localAddress === socket.remoteAddress));
    socket.once('error', () => done(false));
  });
}
