import { HawserError } from '../../core/errors.ts';
import { type ImageFormat, imageFormats } from '../../core/formats.ts';
import type { DeviceTicket } from '../../service/host/ticket.ts';
import type { DeviceContent } from '../../service/host/ticket-ports.ts';
import { type Dict, integerOf, isDict, isList, parseJson, repr, toJson, type Value } from './python-words.ts';
import { badRequest } from './wire-error.ts';

export interface TicketRules {
  /** For tickets that do not say one. */
  readonly inactivitySeconds: number;
  /** Throws `forbidden`, `bad-request` or `unsupported` for a URL that will never be opened. */
  readonly checkUrl: (url: string) => void;
}

const schemes = ['file', 'nbd'];

/**
 * What a client PUTs. Throws 400 with the original's texts. Keys that are not known are ignored. Ours beside the
 * original's: `format` and `backing_chain` (an image by its format), `bitmap` (name of the dirty bitmap).
 */
export function parseTicket(body: Value, rules: TicketRules): DeviceContent {
  if (!isDict(body)) throw invalid(`Invalid ticket: ${repr(body)}, expecting a dict`);
  const id = required(body, 'uuid', text);
  const size = required(body, 'size', integer);
  const ops = required(body, 'ops', list);
  const timeout = required(body, 'timeout', integer);
  const inactivity = optional(body, 'inactivity_timeout', integer) ?? BigInt(rules.inactivitySeconds);
  const url = required(body, 'url', text);
  mustBeUsable(url, rules);
  const transferId = optional(body, 'transfer_id', text);
  const filename = optional(body, 'filename', text);
  const format = formatOf(optional(body, 'format', text));
  const bitmap = optional(body, 'bitmap', text);
  const backingChain = optional(body, 'backing_chain', truth) ?? false;
  const sparse = optional(body, 'sparse', truth) ?? false;
  const dirty = optional(body, 'dirty', truth) ?? false;
  const label = transferId ?? `(ticket/${id.slice(0, 18)})`;
  const document: Dict = {
    inactivity_timeout: number(inactivity),
    ops,
    size: number(size),
    sparse,
    dirty,
    timeout: number(timeout),
    url,
    uuid: id,
    transfer_id: label,
    ...(filename ? { filename } : {}),
    ...(format === undefined ? {} : { format, backing_chain: backingChain }),
    ...(bitmap === undefined ? {} : { bitmap }),
  };
  return {
    kind: 'device',
    id,
    label,
    size: Math.max(0, clamp(size)),
    url,
    read: ops.includes('read'),
    write: ops.includes('write'),
    sparse,
    dirty,
    bitmap: dirty ? bitmap : undefined,
    format,
    backingChain,
    filename: filename || undefined,
    timeoutMs: clamp(timeout * 1000n),
    inactivityMs: clamp((inactivity > 0n ? inactivity : BigInt(rules.inactivitySeconds)) * 1000n),
    document: toJson(document),
  };
}

/** What a client GETs: the ticket, and what has become of it. `expires` is of the clock that nobody sets; `expires_at` is ours. */
export function ticketInfo(ticket: DeviceTicket): Dict {
  const progress = ticket.progress();
  const document = documentOf(ticket.content);
  const { ops } = document;
  return {
    active: progress.active,
    canceled: progress.canceled,
    connections: progress.connections,
    expires: Math.floor(progress.expires.monotonic / 1000),
    idle_time: Math.floor(progress.idleMs / 1000),
    ...document,
    // Of a ticket to read and to write one number would say nothing.
    ...(isList(ops) && ops.length > 1 ? {} : { transferred: progress.transferred }),
    expires_at: timeText(progress.expires.wall),
  };
}

/** As the ticket had it, however large. */
export function exactSize(content: DeviceContent): bigint {
  return integerOf(documentOf(content).size) ?? BigInt(content.size);
}

export function patchTimeout(body: Value): number {
  if (!isDict(body)) throw badRequest('Invalid patch: expecting a dict');
  const value = body.timeout;
  if (value === undefined) throw badRequest("Missing required value for 'timeout'");
  const timeout = integerOf(value);
  if (timeout === undefined) throw badRequest(`Integer required ${repr(value)}`);
  if (timeout < 0n) throw badRequest(`Invalid value ${timeout} < 0`);
  return clamp(timeout * 1000n);
}

const documents = new WeakMap<DeviceContent, Dict>();

function documentOf(content: DeviceContent): Dict {
  const known = documents.get(content);
  if (known !== undefined) return known;
  const parsed = parseJson(content.document);
  const document = isDict(parsed) ? parsed : {};
  documents.set(content, document);
  return document;
}

interface Kind<T> {
  readonly name: string;
  readonly parse: (value: Value) => T | undefined;
}

const text: Kind<string> = { name: 'str', parse: (value) => (typeof value === 'string' ? value : undefined) };
const integer: Kind<bigint> = { name: 'int', parse: integerOf };
const list: Kind<readonly Value[]> = { name: 'list', parse: (value) => (isList(value) ? value : undefined) };
const truth: Kind<boolean> = { name: 'bool', parse: (value) => (typeof value === 'boolean' ? value : undefined) };

function required<T>(body: Dict, key: string, kind: Kind<T>): T {
  const value = optional(body, key, kind);
  if (value === undefined) throw invalid(`Required ticket parameter is missing: ${key}`);
  return value;
}

function optional<T>(body: Dict, key: string, kind: Kind<T>): T | undefined {
  if (!Object.hasOwn(body, key)) return undefined;
  const value = body[key] ?? null;
  const parsed = kind.parse(value);
  if (parsed === undefined) throw invalidValue(key, value, `expecting a <class '${kind.name}'> value`);
  return parsed;
}

function formatOf(name: string | undefined): ImageFormat | undefined {
  const format = imageFormats.find((one) => one === name);
  if (name !== undefined && format === undefined) {
    throw invalidValue('format', name, `expecting one of ${imageFormats.join(', ')}`);
  }
  return format;
}

function mustBeUsable(url: string, { checkUrl }: TicketRules): void {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? '';
  if (!schemes.includes(scheme)) throw invalidValue('url', url, `Unsupported url scheme: ${scheme}`);
  try {
    checkUrl(url);
  } catch (error) {
    if (error instanceof HawserError) throw invalidValue('url', url, error.message);
    throw error;
  }
}

function invalidValue(key: string, value: Value, reason: string) {
  return invalid(`Invalid value for '${key}': ${repr(value)}: ${reason}`);
}

function invalid(reason: string) {
  return badRequest(`Invalid ticket: ${reason}`);
}

/** What fits is a number, so that it is written as one; what does not stays as it is. */
function number(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

function clamp(value: bigint): number {
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > most ? most : value < -most ? -most : value);
}

function timeText(ms: number): string | null {
  const time = new Date(ms);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}
