import { randomUUID } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type NewTicket, TicketControl, type TicketInfo } from '../../client/imageio-tickets.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { dataDirOf } from '../data-dir.ts';
import { readAddresses } from '../local-addresses.ts';
import { HttpConnection } from '../node/http-connection.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { formatBytes, formatSeconds, printable, table } from '../text.ts';
import { openTicketImage } from '../ticket-image.ts';

export interface TicketOptions extends GlobalOptions {
  readonly control?: string;
}

export interface AddTicketOptions extends TicketOptions {
  readonly readOnly?: boolean;
  readonly size?: number;
  readonly create?: boolean;
  readonly format?: string;
  readonly backingChain?: boolean;
  readonly preallocated?: boolean;
  readonly timeout: number;
}

/** The transfer URL is the one line on stdout. */
export async function addTicket(file: string, options: AddTicketOptions): Promise<void> {
  using control = await openControl(options);
  const nbd = /^nbd:/i.test(file);
  const path = nbd ? file : resolve(file);
  if (options.backingChain === true && options.format === undefined) {
    throw new HawserError('bad-request', '--backing-chain goes with --format.');
  }
  const uuid = randomUUID();
  const { format } = options;
  const size = nbd ? options.size : await sizeOf(path, options);
  const asked: NewTicket = {
    uuid,
    size: size ?? Number.MAX_SAFE_INTEGER,
    url: nbd ? file : `file://${path}`,
    ops: [options.readOnly === true ? 'read' : 'write'],
    timeout: options.timeout,
    sparse: options.preallocated !== true,
    ...(nbd ? {} : { filename: basename(path) }),
    ...(format === undefined ? {} : { format, backing_chain: options.backingChain === true }),
  };
  await control.tickets.add(asked);
  const urls = urlsOf(uuid, control.addresses);
  const ticket = size === undefined ? { ...asked, size: await sizeInside(control, asked, urls, options) } : asked;
  if (size === undefined) await control.tickets.add(ticket);
  if (options.json === true) return printJson({ ticket: uuid, size: ticket.size, urls });
  const [first = uuid, ...others] = urls;
  const right = options.readOnly === true ? 'read' : 'read and write';
  const ends = formatSeconds(options.timeout);
  note(
    `Whoever has this URL may ${right} ${printable(ticket.filename ?? file)} (${formatBytes(ticket.size)}), until ${ends} after its last use.`,
    options,
  );
  for (const other of others) note(`Also: ${other}`, options);
  print(first);
}

export async function listTickets(options: TicketOptions): Promise<void> {
  using control = await openControl(options);
  const tickets = await control.tickets.list();
  if (tickets === undefined) throw new HawserError('unsupported', 'This server has no list of tickets.');
  if (options.json === true) return printJson({ items: tickets });
  if (tickets.length === 0) return note('There are no tickets. Make one: hawser ticket add FILE', options);
  const rows = tickets.map((ticket) => [
    ticket.uuid.slice(0, 8),
    ticket.ops.join(','),
    formatBytes(ticket.size),
    ticket.transferred === undefined ? '' : formatBytes(ticket.transferred),
    stateOf(ticket),
    endOf(ticket),
    placeOf(ticket).replace(/^.*\/(?=.)/, ''),
  ]);
  print(table(['ID', 'OPS', 'SIZE', 'MOVED', 'STATE', 'ENDS IN', 'OF'], rows, outWidth()));
}

export async function showTicket(text: string, options: TicketOptions): Promise<void> {
  using control = await openControl(options);
  const ticket = await find(control.tickets, text);
  const urls = urlsOf(ticket.uuid, control.addresses);
  if (options.json === true) return printJson({ ...ticket, urls });
  const facts = [
    ['Of', placeOf(ticket)],
    ['Operations', ticket.ops.join(', ')],
    ['Size', `${formatBytes(ticket.size)} (${ticket.size} bytes)`],
    ['Moved', ticket.transferred === undefined ? '' : formatBytes(ticket.transferred)],
    ['State', stateOf(ticket)],
    ['Connections', String(ticket.connections)],
    ['Ends in', endOf(ticket)],
    ['Transfer', ticket.transfer_id ?? ''],
    ...urls.map((url) => ['URL', url]),
  ];
  print(ticket.uuid);
  for (const [name = '', value = ''] of facts) if (value !== '') print(`  ${name.padEnd(12)} ${printable(value)}`);
}

export async function extendTicket(text: string, options: TicketOptions & { readonly timeout: number }): Promise<void> {
  using control = await openControl(options);
  const { uuid } = await find(control.tickets, text);
  await control.tickets.extend(uuid, options.timeout);
  if (options.json === true) printJson({ ticket: uuid, timeout: options.timeout });
  else note(`The ticket ${uuid.slice(0, 8)} lives for another ${formatSeconds(options.timeout)}.`, options);
}

export async function removeTicket(text: string, options: TicketOptions): Promise<void> {
  using control = await openControl(options);
  const { uuid } = await find(control.tickets, text);
  await control.tickets.remove(uuid);
  if (options.json === true) printJson({ removed: uuid });
  else note(`The ticket ${uuid.slice(0, 8)} is refused from now on.`, options);
}

interface Control extends Disposable {
  readonly tickets: TicketControl;
  readonly addresses: Readonly<Record<string, string>>;
}

async function openControl({ control, dataDir }: TicketOptions): Promise<Control> {
  const folder = dataDirOf(dataDir);
  const addresses = (await readAddresses(folder)) ?? {};
  const socketPath = control ?? addresses.control?.replace(/^unix:/, '');
  if (socketPath === undefined) {
    const running = Object.keys(addresses).length > 0;
    throw new HawserError(
      'unavailable',
      running
        ? `The server of ${folder} has no door for tickets.`
        : `No server runs with the data folder ${folder}, and no control socket was named.`,
      {
        details: {
          next: running
            ? 'Start it with imageio.https or imageio.http, for example: hawser serve --imageio-https 127.0.0.1 --imageio-roots FOLDER'
            : 'Name one with --control SOCKET or --data-dir FOLDER.',
        },
      },
    );
  }
  const connection = new HttpConnection({ socketPath });
  return {
    tickets: new TicketControl(connection.fetch, `the control socket ${socketPath}`),
    // A socket that was named may be of another server.
    addresses: control === undefined ? addresses : {},
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}

/** By its id, the beginning of one where the server has a list, or its transfer URL. */
async function find(control: TicketControl, given: string): Promise<TicketInfo> {
  const text = given.replace(/^.*\/images\//, '');
  const all = text.length < 4 ? [] : ((await control.list()) ?? []);
  const fitting = all.filter(({ uuid }) => uuid.startsWith(text));
  const exact = fitting.find(({ uuid }) => uuid === text);
  if (exact === undefined && fitting.length > 1) {
    const list = fitting.map(({ uuid }) => `  ${uuid}`).join('\n');
    throw new HawserError('name-ambiguous', `Several tickets begin with "${text}":\n${list}`);
  }
  return exact ?? fitting[0] ?? (await control.show(text));
}

/** undefined: only who opens it knows. */
async function sizeOf(path: string, options: AddTicketOptions): Promise<number | undefined> {
  const { create = false, format, size } = options;
  const there = await stat(path).catch(() => undefined);
  if (there === undefined && create) {
    const bytes = mustSay(size);
    await using file = await open(path, 'wx');
    await file.truncate(bytes);
    return bytes;
  }
  if (there === undefined) {
    throw new HawserError('not-found', `There is no file ${path}.`, {
      details: { next: 'Make it: --create --size 10G.' },
    });
  }
  if (size !== undefined || (format !== undefined && format !== 'raw')) return size;
  if (there.isBlockDevice()) {
    const { openLocalFile } = await import('../node/file-source.ts');
    await using device = await openLocalFile(path);
    return device.size;
  }
  return there.size;
}

/** How large a ticket is that was let open whatever there is; one that opens nothing is taken back. */
async function sizeInside(
  { tickets }: Control,
  { uuid }: NewTicket,
  [url]: readonly string[],
  options: GlobalOptions,
): Promise<number> {
  try {
    if (url === undefined) return mustSay(undefined);
    using opened = await openTicketImage(url, options, AbortSignal.timeout(60_000));
    return opened.offer.size ?? mustSay(undefined);
  } catch (error) {
    await tickets.remove(uuid).catch(() => undefined);
    if (!isHawserError(error, 'store-failed')) throw error;
    throw new HawserError('store-failed', 'The server cannot open it as that; its log says why.', {
      cause: error,
      details: { next: 'Check the format. What stands on other files needs --backing-chain.' },
    });
  }
}

function mustSay(size: number | undefined): number {
  if (size !== undefined) return size;
  throw new HawserError('bad-request', 'Say how large it is: --size 10G.');
}

function urlsOf(id: string, addresses: Readonly<Record<string, string>>): readonly string[] {
  const { imageioHttp, imageioHttps, imageioUnix } = addresses;
  return [imageioHttps, imageioHttp, imageioUnix === undefined ? undefined : `${imageioUnix}:`]
    .filter((base) => base !== undefined)
    .map((base) => `${base}/images/${id}`);
}

function stateOf(ticket: TicketInfo): string {
  if (ticket.canceled) return 'canceled';
  if (ticket.active) return 'active';
  return secondsLeft(ticket) === 0 ? 'expired' : 'idle';
}

function endOf(ticket: TicketInfo): string {
  const left = secondsLeft(ticket);
  if (left === undefined) return '';
  return left >= 3600 || left < 120 ? formatSeconds(left) : `${Math.round(left / 60)} min`;
}

function secondsLeft({ expires_at: end }: TicketInfo): number | undefined {
  if (end === null || end === undefined) return undefined;
  return Math.max(0, (Date.parse(end) - Date.now()) / 1000);
}

function placeOf({ url }: TicketInfo): string {
  return url.replace(/^file:\/\//, '');
}
