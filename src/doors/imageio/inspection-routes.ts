import type { ByteSink } from '../../core/bytes.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { intersect, type Range } from '../../core/range.ts';
import { blkhashAlgorithms } from '../../service/host/ticket-device.ts';
import type { Exchange } from './exchange.ts';
import { allowOrigins, authorize, type ImageSettings, oneOf, openFor } from './image-routes.ts';
import { type Dict, repr, toJson } from './python-words.ts';
import { badRequest, WireError } from './wire-error.ts';

/** Above it the list is sent while it is being made. */
const BUFFERED = 256 * 1024;

const MiB = 1024 * 1024;

/** `?context=zero|dirty`; ours: `&start=` and `&length=` for a part of the image, whose extents are cut to it. */
export async function extents(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  const ticket = authorize(settings.tickets, id, 'read');
  const device = await openFor(exchange, settings.tickets, ticket);
  const context = oneOf(exchange.query('context'), 'context', ['dirty', 'zero'], 'zero');
  if (context === 'dirty' && !ticket.content.dirty) throw new WireError(404, 'Ticket does not support dirty extents');
  const range = partOf(exchange, device.size);
  exchange.setHeader('content-type', 'application/json');
  await device.look(async (signal) => {
    const list = new JsonList(exchange, signal);
    try {
      if (context === 'zero') {
        for await (const { offset, length, zero, hole } of device.extents(range, signal)) {
          await list.add({ start: offset, length, zero, hole });
        }
      } else {
        for await (const { offset, length, dirty, zero } of device.dirty(range, signal)) {
          await list.add({ start: offset, length, dirty, zero });
        }
      }
    } catch (error) {
      if (isHawserError(error, 'unsupported')) throw new WireError(404, `Operation not supported: ${error.message}`);
      throw error;
    }
    await list.end();
  });
}

/** blkhash; ours: `&start=` and `&length=` for a part of the image, as if it were all. */
export async function checksum(exchange: Exchange, settings: ImageSettings, id: string): Promise<void> {
  allowOrigins(exchange, '*');
  if (id === '') throw badRequest('Ticket id is required');
  const algorithm = oneOf(exchange.query('algorithm'), 'algorithm', blkhashAlgorithms, 'blake2b');
  const blockSize = blockSizeOf(exchange.query('block_size'));
  const ticket = authorize(settings.tickets, id, 'read');
  const device = await openFor(exchange, settings.tickets, ticket);
  const gone = new AbortController();
  exchange.response.once('close', () => gone.abort(new HawserError('connection-lost', 'The client went away.')));
  const range = partOf(exchange, device.size);
  const digest = await device.checksum({ range, algorithm, blockSize }, gone.signal);
  exchange.sendJson({ algorithm, block_size: blockSize, checksum: digest });
}

export async function algorithms(exchange: Exchange): Promise<void> {
  exchange.sendJson({ algorithms: blkhashAlgorithms });
}

function blockSizeOf(text: string | undefined): number {
  if (text !== undefined && !/^\s*[+-]?\d+\s*$/.test(text)) throw badRequest(`Invalid block size: ${repr(text)}`);
  const size = text === undefined ? 4 * MiB : Number(text);
  if (size < MiB || size > 16 * MiB) throw badRequest(`Block size out of allowed range: ${MiB}-${16 * MiB}`);
  if (size % 4096 !== 0) throw badRequest('Block size is not aligned to 4096');
  return size;
}

function partOf(exchange: Exchange, size: number): Range {
  const start = naturalQuery(exchange, 'start') ?? 0;
  const length = naturalQuery(exchange, 'length') ?? size;
  return intersect({ offset: start, length }, { offset: 0, length: size }) ?? { offset: 0, length: 0 };
}

function naturalQuery(exchange: Exchange, name: string): number | undefined {
  const text = exchange.query(name);
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`Invalid ${name}: ${repr(text)}`);
  return Number(text);
}

/** A JSON list that is sent at once while it is short, and piece by piece when it is not: its memory does not grow. */
class JsonList {
  readonly #exchange: Exchange;
  readonly #stop: AbortSignal;
  #text = '[';
  #first = true;
  #sink: ByteSink | undefined;

  constructor(exchange: Exchange, stop: AbortSignal) {
    this.#exchange = exchange;
    this.#stop = stop;
  }

  async add(item: Dict): Promise<void> {
    this.#text += `${this.#first ? '' : ', '}${toJson(item)}`;
    this.#first = false;
    if (this.#text.length < BUFFERED) return;
    this.#sink ??= this.#exchange.begin(200, null, this.#stop).sink;
    const text = this.#text;
    this.#text = '';
    await this.#sink.write(Buffer.from(text));
  }

  async end(): Promise<void> {
    if (this.#sink === undefined) return this.#exchange.send(200, `${this.#text}]\n`);
    await this.#sink.write(Buffer.from(`${this.#text}]\n`));
    await this.#exchange.end();
  }
}
