import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { availableParallelism } from 'node:os';
import type { Config } from '../config/schema.ts';
import { HawserError } from '../core/errors.ts';
import type { Mover } from '../core/mover.ts';
import type { Sender } from '../core/sender.ts';
import { controlDoor, IMAGEIO_VERSION, imageDoor } from '../doors/imageio/imageio-door.ts';
import { createListener, type Handler, type Listener } from '../doors/imageio/listener.ts';
import { createTicketMetrics } from '../doors/imageio/ticket-metrics.ts';
import { Blkhash } from '../engine/blkhash.ts';
import type { SlabPool } from '../engine/slab-pool.ts';
import type { DataFolder } from '../host/data-folder.ts';
import { freeSocketPath, readPem } from '../host/listening-socket.ts';
import { QemuNbdSupervisor } from '../host/qemu-nbd.ts';
import { socketPath } from '../host/socket-path.ts';
import { openTicketFolder } from '../host/ticket-folder.ts';
import { ownTlsKeys, readTlsKeys, type TlsKeys } from '../host/tls.ts';
import { openMoverLanes, openSenderLanes } from '../native/lanes.ts';
import { HostTickets } from '../service/host/host-tickets.ts';
import type { HostLog } from '../service/host/ports.ts';
import { TicketCounts } from '../service/host/ticket-counts.ts';
import { checkTicketUrl, ticketDevices } from './ticket-devices.ts';

const DEFAULT_PORT = 54_322;

export interface TicketParts {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly slabs: SlabPool;
  /** Undefined: its own, as a device that hangs must not hold Stores up. */
  readonly mover?: Mover | undefined;
  readonly sender?: Sender | undefined;
  /** Which boot of the machine this is. */
  readonly bootId: string;
  readonly log: HostLog;
}

/** The agent's table of tickets, with what was there before. */
export async function openTickets(
  { config, folder, slabs, bootId, log, ...parts }: TicketParts,
  stack: AsyncDisposableStack,
): Promise<HostTickets> {
  const blkhash = stack.use(new Blkhash(Math.min(4, availableParallelism())));
  const mover = parts.mover ?? stack.use(openMoverLanes({ hashers: 0 }));
  const sender = parts.sender ?? stack.use(openSenderLanes());
  const supervisor = stack.use(await QemuNbdSupervisor.open(folder.at('agent', 'qemu-nbd'), randomUUID));
  const tickets = new HostTickets({
    clock: { monotonic: () => Number(process.hrtime.bigint()) / 1e6, wall: () => Date.now(), boot: bootId },
    folder: await openTicketFolder(folder.at('agent', 'tickets'), randomUUID),
    openDevice: ticketDevices(config.imageio.roots, supervisor),
    means: { slabs, mover, sender, blkhash, counts: new TicketCounts() },
    removeMs: config.imageio.removeSeconds * 1000,
    fault: (error) =>
      log.warn({ event: 'ticket.fault', error: error instanceof Error ? error.message : String(error) }),
  });
  stack.defer(() => tickets.close());
  await tickets.recover();
  return tickets;
}

export interface ImageioParts {
  readonly config: Config;
  readonly folder: DataFolder;
  readonly tickets: HostTickets;
  readonly version: string;
  readonly log: HostLog;
}

/** Starts what `imageio.*` says. The addresses, as in `run/addresses.json`. */
export async function startImageio(
  parts: ImageioParts,
  stack: AsyncDisposableStack,
): Promise<Readonly<Record<string, string>>> {
  const { config, folder, tickets } = parts;
  const settings = config.imageio;
  const data = [settings.https, settings.http, settings.unix].some((place) => place !== '');
  if (!data && settings.control === '' && settings.controlHttps === '') return {};
  const metrics = createTicketMetrics(tickets);
  const images = {
    tickets,
    unixSocket: settings.unix === '' ? undefined : settings.unix,
    fileWriters: settings.fileWriters,
    maxConnections: settings.maxConnections,
  };
  const remote = imageDoor({ ...images, info: { hawser: parts.version } });
  const control = controlDoor({
    tickets,
    rules: { inactivitySeconds: settings.inactivitySeconds, checkUrl: (url) => checkTicketUrl(url, settings.roots) },
    log: (fields) => parts.log.info(fields),
    metrics: () => metrics.text(),
  });
  const open = (handle: Handler, tls?: TlsKeys & { readonly clientCa?: string }) =>
    createListener({
      handle,
      tls,
      serverName: `imageio/${IMAGEIO_VERSION} hawser/${parts.version}`,
      now: () => new Date(),
      fault: (fields) => parts.log.warn(fields),
      answered: metrics.answered,
    });
  const addresses: Record<string, string> = {};
  if (settings.https !== '') {
    const listener = open(remote, await keysOf(config, folder));
    addresses.imageioHttps = `https://${await listenOn(listener, 'https', settings.https, stack)}`;
  }
  if (settings.http !== '') {
    addresses.imageioHttp = `http://${await listenOn(open(remote), 'http', settings.http, stack)}`;
  }
  if (settings.unix !== '') {
    addresses.imageioUnix = await listenOnSocket(open(imageDoor(images)), settings.unix, 0o666, stack);
  }
  const socket = settings.control === '' ? await socketPath(folder.at('run'), 'imageio.sock') : settings.control;
  addresses.control = await listenOnSocket(open(control), socket, 0o660, stack);
  if (settings.controlHttps !== '') {
    if (settings.controlCa === '') throw missingCa();
    const clientCa = await readPem(settings.controlCa, 'imageio.controlCa');
    const listener = open(control, { ...(await keysOf(config, folder)), clientCa });
    addresses.controlHttps = `https://${await listenOn(listener, 'controlHttps', settings.controlHttps, stack)}`;
  }
  return addresses;
}

function keysOf(config: Config, folder: DataFolder): Promise<TlsKeys> {
  const { cert, key } = config.imageio;
  if (cert !== '' || key !== '') return readTlsKeys(cert, key);
  if (config.tls.cert !== '' || config.tls.key !== '') return readTlsKeys(config.tls.cert, config.tls.key);
  return ownTlsKeys(folder.at, new Date());
}

/** `host:port` as others reach it. */
async function listenOn(
  listener: Listener,
  setting: 'https' | 'http' | 'controlHttps',
  text: string,
  stack: AsyncDisposableStack,
): Promise<string> {
  stack.defer(() => listener.close());
  const { host, port } = placeOf(text);
  try {
    await listening(listener.server, () => listener.server.listen({ host, port }));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HawserError(
      'in-use',
      `Hawser cannot listen at ${text} (imageio.${setting}): ${why}. Choose another address.`,
      { cause },
    );
  }
  const address = listener.server.address();
  if (address === null || typeof address === 'string')
    throw new HawserError('internal', 'The listener has no address.');
  const every = address.address === '0.0.0.0' || address.address === '::';
  const name = every ? 'localhost' : address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `${name}:${address.port}`;
}

/** HOST, HOST:PORT, [IPV6]:PORT or IPv6 alone. */
function placeOf(text: string): { readonly host: string; readonly port: number } {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[2] ?? DEFAULT_PORT);
  return match === null ? { host: text, port: DEFAULT_PORT } : { host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port };
}

async function listenOnSocket(
  listener: Listener,
  path: string,
  mode: number,
  stack: AsyncDisposableStack,
): Promise<string> {
  stack.defer(() => listener.close());
  await freeSocketPath(path);
  await listening(listener.server, () => {
    // The file is made within this call, and must not be open to others even for a moment.
    const before = process.umask(0o777 & ~mode);
    try {
      listener.server.listen({ path });
    } finally {
      process.umask(before);
    }
  });
  return `unix:${path}`;
}

function listening(server: Server, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve).once('error', reject);
    begin();
  });
}

function missingCa(): HawserError {
  return new HawserError(
    'bad-request',
    'imageio.controlHttps needs imageio.controlCa: the authority whose clients may install tickets. Nobody else may.',
  );
}
