import { HawserError } from '../../core/errors.ts';
import type { HostTickets } from '../../service/host/host-tickets.ts';
import type { DeviceTicket } from '../../service/host/ticket.ts';
import type { TicketDevice } from '../../service/host/ticket-device.ts';
import { contentDisposition } from '../_http/data-headers.ts';
import { parseContentRange, parseRange } from './byte-ranges.ts';
import type { Exchange } from './exchange.ts';
import { type Dict, integerOf, isDict, repr, type Value } from './python-words.ts';
import { noSuchTicket } from './refusals.ts';
import { exactSize } from './ticket-words.ts';
import { badRequest, notSatisfiable } from './wire-error.ts';

export interface ImageSettings {
  readonly tickets: HostTickets;
  /** Path of the unix socket that local clients may use instead; told to everybody. */
  readonly unixSocket: string | undefined;
  /** What clients are told of a regular file; more connections may write all the same. */
  readonly fileWriters: number;
  /** What clients are told: connections that one ticket should have at most. */
  readonly maxConnections: number;
}

const READ_FEATURES = ['checksum', 'extents'];
const ALL_FEATURES = [...READ_FEATURES, 'flush', 'zero'];
/** Ours: what takes `start` and `length`. */
const PARTIAL = ['checksum', 'extents'];

/** Throws 403 in the words of the wire. */
export function authorize(tickets: HostTickets, id: string, op: 'read' | 'write'): DeviceTicket {
  if (id === '') throw badRequest('Ticket id is required');
  if (tickets.find(id) === undefined) throw noSuchTicket(id);
  return tickets.authorize(id, op);
}

/** The Device of an authorized ticket. Throws 500 when it cannot be opened. */
export async function openFor(exchange: Exchange, tickets: HostTickets, ticket: DeviceTicket): Promise<TicketDevice> {
  exchange.connection.uses(ticket);
  try {
    return await tickets.open(ticket, exchange.connection);
  } catch (error) {
    if (ticket.canceled || !(error instanceof HawserError)) throw error;
    throw new HawserError('store-failed', `The device of a ticket cannot be opened: ${error.message}`, {
      cause: error,
    });
  }
}

export async function options(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  // The original never lets a page PATCH: only who asks for it is told more.
  const patches = exchange.header('access-control-request-method') === 'PATCH';
  allowOrigins(exchange, patches ? 'OPTIONS,GET,PUT,PATCH' : 'OPTIONS,GET,PUT');
  if (id === '') throw badRequest('Ticket id is required');
  const { unixSocket, maxConnections } = settings;
  const where: Dict = unixSocket === undefined ? {} : { unix_socket: unixSocket };
  if (id === '*') {
    exchange.setHeader('allow', 'OPTIONS,GET,PUT,PATCH');
    return exchange.sendJson({ ...where, features: ALL_FEATURES });
  }
  const ticket = authorize(settings.tickets, id, 'read');
  const device = await openFor(exchange, settings.tickets, ticket);
  ticket.touch();
  const { write } = ticket.content;
  exchange.setHeader('allow', write ? 'OPTIONS,GET,PUT,PATCH' : 'OPTIONS,GET');
  exchange.sendJson({
    ...where,
    features: write ? ALL_FEATURES : READ_FEATURES,
    max_readers: maxConnections,
    max_writers: Math.min(maxConnections, device.kind === 'file' ? settings.fileWriters : device.writers),
    size: device.size,
    partial: PARTIAL,
  });
}

export async function get(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  const answer = await readAnswer(exchange, settings, id);
  const { status, offset, length } = answer;
  await answer.device.send({ offset, length }, (stop) => exchange.begin(status, length, stop));
  await exchange.end();
}

/** As GET would answer, without a body; no use of the ticket. */
export async function head(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  const { status, length } = await readAnswer(exchange, settings, id);
  exchange.sendHead(status, length);
}

export async function put(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  if (id === '') throw badRequest('Ticket id is required');
  const close = exchange.query('close') === 'y';
  if (close) exchange.closeAfter();
  const length = exchange.header('transfer-encoding') === undefined ? exchange.contentLength : undefined;
  if (length === undefined) throw badRequest('Content-Length header is required');
  const contentRange = exchange.header('content-range');
  const offset = contentRange === undefined ? 0n : parseContentRange(contentRange);
  const flush = oneOf(exchange.query('flush'), 'flush', ['n', 'y'], 'y') === 'y';
  const ticket = authorize(settings.tickets, id, 'write');
  const device = await openFor(exchange, settings.tickets, ticket);
  const range = allowedRange(ticket, offset, length);
  await device.receive({ range, flush, source: exchange.source() });
  // So that whoever waits for the answer finds nothing open.
  if (close) await exchange.connection.leaveAll();
  exchange.send(200);
}

export async function patch(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  if (id === '') throw badRequest('Ticket id is required');
  const message = await exchange.json('Invalid JSON message');
  if (!isDict(message)) throw badRequest('Invalid JSON message expecting a dict');
  const op = oneOf(message.op, 'op', ['flush', 'zero'], undefined);
  const zero = op === 'zero' ? zeroRequest(message) : undefined;
  const ticket = authorize(settings.tickets, id, 'write');
  const device = await openFor(exchange, settings.tickets, ticket);
  if (zero === undefined) await device.flush();
  else await device.zero(allowedRange(ticket, zero.offset, zero.size), zero.flush);
  exchange.send(200);
}

/** Throws 400 as the original's check of a choice does. */
export function oneOf<T extends string>(
  value: Value | undefined,
  name: string,
  choices: readonly T[],
  otherwise: T | undefined,
): T {
  if (value === undefined && otherwise !== undefined) return otherwise;
  if (value === undefined) throw badRequest(`Missing required value for ${name}`);
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw badRequest(`Unsupported value ${repr(value)} for '${name}', expecting one of ${repr([...choices].sort())}`);
}

/** Only what the request asks about is answered; `methods` tells a preflight. */
export function allowOrigins(exchange: Exchange, methods: string): void {
  const asked = [
    ['origin', 'access-control-allow-origin', '*'],
    ['access-control-request-headers', 'access-control-allow-headers', '*'],
    ['access-control-request-method', 'access-control-allow-methods', methods],
  ] as const;
  const present = asked.filter(([header]) => exchange.header(header));
  for (const [, name, value] of present) exchange.setHeader(name, value);
  if (present.length > 0) exchange.setHeader('access-control-max-age', '86400');
}

interface ReadAnswer {
  readonly device: TicketDevice;
  readonly status: number;
  readonly offset: number;
  readonly length: number;
}

/** What a GET sends, its headers set. */
async function readAnswer(exchange: Exchange, settings: ImageSettings, id: string): Promise<ReadAnswer> {
  if (id === '') throw badRequest('Ticket id is required');
  if (exchange.query('close') === 'y') exchange.closeAfter();
  const header = exchange.method === 'HEAD' ? undefined : exchange.header('range');
  const asked = header === undefined ? undefined : parseRange(header);
  const ticket = authorize(settings.tickets, id, 'read');
  const device = await openFor(exchange, settings.tickets, ticket);
  const etag = ticket.content.write ? undefined : await device.fingerprint();
  if (etag !== undefined) exchange.setHeader('etag', `"${etag}"`);
  exchange.setHeader('accept-ranges', 'bytes');
  exchange.setHeader('content-type', 'application/octet-stream');
  exchange.setHeader('content-disposition', disposition(ticket.content.filename));
  const condition = exchange.header('if-range');
  // A range of other bytes than the client has would be spliced to them.
  const wanted = condition === undefined || condition === `"${etag}"` ? asked : undefined;
  const available = device.size;
  if (wanted === undefined) return { device, status: 200, offset: 0, length: available };
  const end = wanted.last === null ? BigInt(available) : wanted.last + 1n;
  if (end > BigInt(available) || wanted.first >= end) {
    const requested = end > wanted.first ? end : wanted.first + 1n;
    throw notSatisfiable(`Requested more bytes than available: ${requested} > ${available}`, available);
  }
  exchange.setHeader('content-range', `bytes ${wanted.first}-${end - 1n}/${exactSize(ticket.content)}`);
  return { device, status: 206, offset: Number(wanted.first), length: Number(end - wanted.first) };
}

/** Plain names as the original sends them, others so that nothing in them can end the header. */
function disposition(filename: string | undefined): string {
  if (filename === undefined) return 'attachment';
  return /^[\w.+-]+$/.test(filename) ? `attachment; filename=${filename}` : contentDisposition(filename);
}

/** Throws 416 for what lies beyond the ticket. */
function allowedRange(ticket: DeviceTicket, offset: bigint, length: bigint) {
  const size = exactSize(ticket.content);
  if (offset + length > size || offset + length > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw notSatisfiable('Requested range out of allowed range', size);
  }
  return { offset: Number(offset), length: Number(length) };
}

function zeroRequest(message: Dict): { readonly size: bigint; readonly offset: bigint; readonly flush: boolean } {
  const size = natural(message, 'size');
  if (size === undefined) throw badRequest("Missing required value for 'size'");
  const flush = message.flush ?? false;
  if (Object.hasOwn(message, 'flush') && typeof message.flush !== 'boolean') {
    throw badRequest(`Boolean required ${repr(message.flush)}`);
  }
  return { size, offset: natural(message, 'offset') ?? 0n, flush: flush === true };
}

function natural(message: Dict, name: string): bigint | undefined {
  if (!Object.hasOwn(message, name)) return undefined;
  const value = integerOf(message[name]);
  if (value === undefined) throw badRequest(`Integer required ${repr(message[name])}`);
  if (value < 0n) throw badRequest(`Invalid value ${value} < 0`);
  return value;
}
