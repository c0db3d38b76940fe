import { cutAt, type Range, type RangeSet, rangeEnd } from '../core/range.ts';
import type { Acknowledged } from './acknowledged.ts';
import type { ImageioImage, Offer } from './imageio-image.ts';
import { patiently } from './imageio-patience.ts';
import type { ImageioStatus } from './imageio-progress.ts';
import type { Patience } from './patience.ts';
import type { Sending } from './send-source.ts';

export interface ImageioDeliveryParts {
  readonly image: ImageioImage;
  readonly offer: Offer;
  readonly acknowledged: Acknowledged;
  readonly patience: Patience;
  readonly status: ImageioStatus;
  /** Requests at a time. */
  readonly connections: number;
  readonly signal: AbortSignal;
}

/** As oVirt's own clients cut zeros: a server that must write them is not silent for long. */
const MOST_ZEROS = 128 * 1024 * 1024;
const ZEROS_TO_SEND = 1024 * 1024;

/** Writes ranges over the image of a ticket; each may be repeated. */
export class ImageioDelivery implements Sending {
  readonly #parts: ImageioDeliveryParts;
  readonly #waiting: (() => void)[] = [];
  #free: number;
  /** Bytes of data that were sent and answered. */
  sent = 0;
  /** Bytes that were zeroed without being sent. */
  zeros = 0;

  constructor(parts: ImageioDeliveryParts) {
    this.#parts = parts;
    this.#free = parts.connections;
  }

  async sendData(buffer: Uint8Array, base: number, range: Range): Promise<void> {
    for (const part of this.#parts.acknowledged.missing(range)) {
      await this.#put(part, buffer.subarray(part.offset - base, rangeEnd(part) - base));
      this.sent += part.length;
    }
  }

  async sendZeros(ranges: RangeSet): Promise<void> {
    const { acknowledged, offer } = this.#parts;
    for (const range of ranges) {
      for (const missing of acknowledged.missing(range)) {
        if (!offer.features.has('zero')) await this.#sendAsData(missing);
        else for (const part of cutAt(missing, MOST_ZEROS)) await this.#zero(part);
      }
    }
  }

  async #sendAsData(range: Range): Promise<void> {
    const zeros = new Uint8Array(Math.min(ZEROS_TO_SEND, range.length));
    for (const part of cutAt(range, ZEROS_TO_SEND)) {
      await this.#put(part, zeros.subarray(0, part.length));
      this.sent += part.length;
    }
  }

  async #put(part: Range, bytes: Uint8Array): Promise<void> {
    const { image, offer, status } = this.#parts;
    const later = offer.features.has('flush');
    const onSent = (count: number) => status.underway(part, count);
    await this.#repeated(part, () => image.put(bytes, part.offset, { later, onSent }));
  }

  async #zero(part: Range): Promise<void> {
    await this.#repeated(part, () => this.#parts.image.zero(part));
    this.zeros += part.length;
  }

  async #repeated(part: Range, request: () => Promise<void>): Promise<void> {
    const { acknowledged, patience, signal, status } = this.#parts;
    await patiently(patience, async () => {
      signal.throwIfAborted();
      await this.#enter();
      try {
        await request();
      } catch (error) {
        status.underway(part, 0);
        throw error;
      } finally {
        this.#leave();
      }
    });
    acknowledged.add(part);
    status.landed(part, acknowledged.bytes);
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
