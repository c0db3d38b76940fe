import { HawserError } from '../../core/errors.ts';
import {
  encodeGo,
  encodeMetaContexts,
  encodeOption,
  GREETING_BYTES,
  handshakeFlag,
  info,
  NBD_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_BYTES,
  OPTION_REPLY_MAGIC,
  option,
  optionErrors,
  optionReply,
} from './protocol.ts';
import { type NbdTls, type Transport, violation } from './transport.ts';

export interface HandshakeRequest {
  readonly exportName: string;
  /**
   * Asked for by name, or the first one of a namespace (`qemu:dirty-bitmap:`); what the server does not offer is
   * left out of the answer.
   */
  readonly contexts: readonly string[];
  readonly tls?: NbdTls | undefined;
  /** What the certificate must be of when TLS names nobody. */
  readonly host: string;
}

/** What was agreed on. */
export interface NbdExport {
  /** Bytes. */
  readonly size: number;
  /** Bits of `exportFlag`. */
  readonly flags: number;
  readonly structured: boolean;
  /** Context by the number that the server gave it. */
  readonly contexts: ReadonlyMap<number, string>;
  readonly blocks: BlockSizes;
}

/** Bytes. Requests are multiples of `minimum`, their payload at most `maximum`. */
export interface BlockSizes {
  readonly minimum: number;
  readonly preferred: number;
  readonly maximum: number;
}

/** What a server that says nothing takes. Source: "Block size constraints" in proto.md. */
const UNSAID: BlockSizes = { minimum: 1, preferred: 4096, maximum: 32 * 1024 * 1024 };
const MOST_REPLY = 64 * 1024;
/** Replies to one option; a server that never ends its list is not listened to. */
const MOST_REPLIES = 256;

/**
 * Newstyle handshake up to the transmission phase. Throws `not-found` when there is no such export,
 * `forbidden` when the server's policy says so, `unsupported` when it cannot do what is needed.
 */
export async function shakeHands(
  transport: Transport,
  request: HandshakeRequest,
  signal?: AbortSignal,
): Promise<NbdExport> {
  const shake = new Handshake(transport, signal);
  const noZeroes = await shake.greet();
  transport.send(uint32(handshakeFlag.fixedNewstyle | (noZeroes ? handshakeFlag.noZeroes : 0)));
  if (request.tls !== undefined) {
    await shake.require(option.startTls, Buffer.alloc(0), 'TLS');
    await transport.startTls(request.tls, request.host, signal);
  }
  const structured = await shake.ask(option.structuredReply);
  const contexts = structured && request.contexts.length > 0 ? await shake.contexts(request) : new Map();
  const { size, flags, blocks } = await shake.go(request.exportName);
  return { size, flags, blocks, structured, contexts };
}

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

class Handshake {
  readonly #transport: Transport;
  readonly #signal: AbortSignal | undefined;

  constructor(transport: Transport, signal: AbortSignal | undefined) {
    this.#transport = transport;
    this.#signal = signal;
  }

  /** Whether the server leaves out the zeroes after an export; nothing but a fixed newstyle server is spoken to. */
  async greet(): Promise<boolean> {
    const greeting = await this.#transport.take(GREETING_BYTES, this.#signal);
    if (greeting.readBigUInt64BE(0) !== NBD_MAGIC) throw this.#broken('its greeting is not that of an NBD server');
    const flags = greeting.readUInt16BE(16);
    if (greeting.readBigUInt64BE(8) !== OPTION_MAGIC || (flags & handshakeFlag.fixedNewstyle) === 0) {
      throw new HawserError(
        'unsupported',
        'The NBD server speaks only the old handshake, which names no export. Use a server with the fixed newstyle handshake (qemu-nbd, nbdkit, nbd-server 3).',
      );
    }
    return (flags & handshakeFlag.noZeroes) !== 0;
  }

  /** Whether the server took the option. */
  async ask(kind: number): Promise<boolean> {
    this.#transport.send(encodeOption(kind, Buffer.alloc(0)));
    const { type } = await this.#reply(kind);
    if (type === optionReply.ack) return true;
    if (isError(type)) return false;
    throw this.#broken(`reply ${type} to option ${kind}`);
  }

  async require(kind: number, data: Buffer, what: string): Promise<void> {
    this.#transport.send(encodeOption(kind, data));
    const reply = await this.#reply(kind);
    if (isError(reply.type)) throw refused(what, reply);
    if (reply.type !== optionReply.ack) throw this.#broken(`reply ${reply.type} to option ${kind}`);
  }

  async contexts({ exportName, contexts: wanted }: HandshakeRequest): Promise<Map<number, string>> {
    const contexts: string[] = [];
    for (const name of wanted)
      contexts.push(name.endsWith(':') ? ((await this.#firstOf(exportName, name)) ?? name) : name);
    this.#transport.send(encodeMetaContexts(option.setMetaContext, exportName, contexts));
    const given = new Map<number, string>();
    for await (const { type, data } of this.#replies(option.setMetaContext)) {
      // A server without contexts, or one that knows none of these for this export: the export is there all the same.
      if (isError(type)) return new Map();
      if (type !== optionReply.metaContext || data.length < 4) throw this.#broken(`reply ${type} to the contexts`);
      const name = data.toString('utf8', 4);
      if (!contexts.includes(name)) throw this.#broken('it gave a context that was not asked for');
      given.set(data.readUInt32BE(0), name);
    }
    return given;
  }

  /** The first context of a namespace. */
  async #firstOf(exportName: string, namespace: string): Promise<string | undefined> {
    this.#transport.send(encodeMetaContexts(option.listMetaContext, exportName, [namespace]));
    let first: string | undefined;
    for await (const { type, data } of this.#replies(option.listMetaContext)) {
      if (isError(type)) return undefined;
      if (type !== optionReply.metaContext || data.length < 4)
        throw this.#broken(`reply ${type} to a list of contexts`);
      const name = data.toString('utf8', 4);
      if (name.startsWith(namespace) && name.length > namespace.length) first ??= name;
    }
    return first;
  }

  async go(exportName: string): Promise<{ size: number; flags: number; blocks: BlockSizes }> {
    this.#transport.send(encodeGo(exportName));
    let told: { size: number; flags: number } | undefined;
    let blocks = UNSAID;
    for await (const reply of this.#replies(option.go)) {
      const { type, data } = reply;
      if (isError(type)) throw refused('the export', reply);
      if (type !== optionReply.info || data.length < 2) throw this.#broken(`reply ${type} to the export's name`);
      const kind = data.readUInt16BE(0);
      if (kind === info.export && data.length === 12) told = { size: this.#size(data), flags: data.readUInt16BE(10) };
      if (kind === info.blockSize && data.length === 14) blocks = this.#blocks(data);
    }
    if (told === undefined) throw this.#broken('it did not tell the size of the export');
    return { ...told, blocks };
  }

  /** The replies before the one that ends them; an error is the last one and given too. */
  async *#replies(kind: number): AsyncGenerator<OptionReply> {
    for (let count = 0; count < MOST_REPLIES; count++) {
      const reply = await this.#reply(kind);
      if (reply.type === optionReply.ack) return;
      yield reply;
      if (isError(reply.type)) return;
    }
    throw this.#broken(`more than ${MOST_REPLIES} replies to option ${kind}`);
  }

  async #reply(kind: number): Promise<OptionReply> {
    const head = await this.#transport.take(OPTION_REPLY_BYTES, this.#signal);
    const length = head.readUInt32BE(16);
    if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw this.#broken('an option reply without its magic');
    if (head.readUInt32BE(8) !== kind) throw this.#broken('a reply to another option');
    if (length > MOST_REPLY) throw this.#broken(`an option reply of ${length} bytes`);
    return { type: head.readUInt32BE(12), data: await this.#transport.take(length, this.#signal) };
  }

  #size(data: Buffer): number {
    const size = data.readBigUInt64BE(2);
    if (size <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(size);
    throw new HawserError('too-large', `The NBD export says it has ${size} bytes, more than can be addressed here.`);
  }

  #blocks(data: Buffer): BlockSizes {
    const [minimum, preferred, maximum] = [data.readUInt32BE(2), data.readUInt32BE(6), data.readUInt32BE(10)];
    const sound =
      isPowerOfTwo(minimum) &&
      minimum <= 65536 &&
      isPowerOfTwo(preferred) &&
      preferred >= minimum &&
      maximum >= minimum;
    if (!sound) throw this.#broken(`block sizes ${minimum}, ${preferred}, ${maximum}`);
    return { minimum, preferred, maximum: maximum - (maximum % minimum) };
  }

  #broken(what: string): HawserError {
    const error = violation(what);
    this.#transport.close(error);
    return error;
  }
}

function isError(type: number): boolean {
  return type >= optionReply.error;
}

function refused(what: string, { type, data }: OptionReply): HawserError {
  const number = type - optionReply.error;
  const why = optionErrors.get(number) ?? `error ${number}`;
  const said = data
    .toString('utf8')
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 500);
  const cause = said === '' ? undefined : new Error(`the server said: ${said}`);
  if (number === 6) {
    return new HawserError('not-found', 'The NBD server has no export of this name. Name another one.', { cause });
  }
  const code = number === 2 ? 'forbidden' : number === 7 ? 'unavailable' : 'unsupported';
  return new HawserError(code, `The NBD server refused ${what}: ${why}.`, { details: { nbdError: number }, cause });
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
