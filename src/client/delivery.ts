import type { UploadResource } from '../contract/api/upload.ts';
import { HawserError, toHawserError } from '../core/errors.ts';
import { cutAt, type Range, type RangeSet, rangeEnd } from '../core/range.ts';
import type { Acknowledged } from './acknowledged.ts';
import type { ApiClient } from './api-client.ts';
import type { ChunkSizer } from './chunk-sizer.ts';
import type { DataRoute, DataTarget } from './data-route.ts';
import type { Patience } from './patience.ts';
import type { Clock, TransportAnswer, UploadTransport } from './ports.ts';
import { errorOfAnswer } from './problem.ts';
import { watched } from './stall-watch.ts';
import type { UploadStatus } from './upload-progress.ts';

export interface DeliveryParts {
  readonly api: ApiClient;
  readonly uploadId: string;
  /** null: not known yet. */
  readonly size: number | null;
  readonly acknowledged: Acknowledged;
  readonly route: DataRoute;
  readonly sizer: ChunkSizer;
  readonly patience: Patience;
  readonly transport: UploadTransport;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly status: UploadStatus;
  /** A PUT of which nothing has moved for so long is given up, milliseconds. */
  readonly stallMs: number;
}

const POLL_MS = 2000;
const ZERO_RANGES_A_CALL = 5000;

/**
 * Gets ranges acknowledged, whatever happens on the way: repeats what may be repeated, asks the server
 * what it has after each break, and never sends what it has. Throws what a person must decide.
 */
export class Delivery {
  readonly #parts: DeliveryParts;
  #fruitless = 0;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** Resolves when all of `range` is acknowledged; its bytes lie in `buffer`, which begins at `base`. */
  async sendData(buffer: Uint8Array, base: number, range: Range): Promise<void> {
    for (;;) {
      const [missing] = this.#parts.acknowledged.missing(range);
      if (missing === undefined) return;
      const [part] = cutAt(missing, this.#parts.sizer.current);
      if (part === undefined) return;
      await this.#put(part, buffer.subarray(part.offset - base, rangeEnd(part) - base));
    }
  }

  /** Resolves when these ranges are acknowledged as zeros. */
  async sendZeros(ranges: RangeSet): Promise<void> {
    const { acknowledged, api, patience, signal, status, uploadId } = this.#parts;
    const missing = () => [...ranges].flatMap((range) => acknowledged.missing(range)).slice(0, ZERO_RANGES_A_CALL);
    for (let todo = missing(); todo.length > 0; todo = missing()) {
      try {
        await api.zeros(uploadId, todo, signal);
        for (const range of todo) acknowledged.add(range);
        patience.succeeded();
        const zeros = status.now.zeros + todo.reduce((sum, range) => sum + range.length, 0);
        status.change({ zeros, done: acknowledged.bytes });
      } catch (error) {
        await this.#recover(toHawserError(error));
      }
    }
  }

  /** Asks the server what it has. */
  async refresh(): Promise<void> {
    const { acknowledged, api, patience, signal, status, uploadId } = this.#parts;
    await acknowledged.refresh(() => patience.persist(async () => (await api.ranges(uploadId, signal)).ranges));
    status.change({ done: acknowledged.bytes });
  }

  async #put(part: Range, body: Uint8Array): Promise<void> {
    const { acknowledged, clock, patience, route, signal, sizer, status } = this.#parts;
    const target = await patience.persist(() => route.target());
    const started = clock.now();
    let answer: TransportAnswer;
    try {
      answer = await this.#watchedPut(part, body, target);
    } catch (error) {
      signal.throwIfAborted();
      route.broke(target);
      return await this.#afterBreak(part, toHawserError(error, 'connection-lost'));
    } finally {
      status.underway(part, 0);
    }
    if (answer.status < 200 || answer.status > 299) return await this.#refused(part, target, answer);
    acknowledged.add(part);
    this.#fruitless = 0;
    route.succeeded();
    patience.succeeded();
    sizer.succeeded(part.length, clock.now() - started);
    status.change({ done: acknowledged.bytes, sent: status.now.sent + part.length });
  }

  #watchedPut(part: Range, body: Uint8Array, target: DataTarget): Promise<TransportAnswer> {
    const { size, status, transport } = this.#parts;
    const headers = {
      ...target.headers,
      'content-type': 'application/octet-stream',
      'content-range': `bytes ${part.offset}-${rangeEnd(part) - 1}/${size ?? '*'}`,
    };
    return watched(this.#parts, (signal, moved) => {
      const onSent = (bytes: number) => {
        moved(bytes);
        status.underway(part, bytes);
      };
      return transport.put({ url: target.url, ca: target.ca, host: target.host, headers, body, onSent, signal });
    });
  }

  /** No answer: wait, then ask what arrived. Two breaks in a row without one byte: smaller requests. */
  async #afterBreak(part: Range, error: HawserError): Promise<void> {
    const { acknowledged, sizer } = this.#parts;
    const before = acknowledged.missing(part).reduce((sum, range) => sum + range.length, 0);
    await this.#recover(error);
    const after = acknowledged.missing(part).reduce((sum, range) => sum + range.length, 0);
    this.#fruitless = after < before ? 0 : this.#fruitless + 1;
    if (error.details.stalled === true || this.#fruitless >= 2) sizer.stalled(part.length);
  }

  async #refused(part: Range, target: DataTarget, answer: TransportAnswer): Promise<void> {
    const { route, sizer } = this.#parts;
    const plain = errorOfAnswer({ status: answer.status, body: answer.body, url: target.url.replace(/\?.*$/, '') });
    const seconds = Number(answer.headers['retry-after']);
    const error = Number.isFinite(seconds)
      ? new HawserError(plain.code, plain.message, { details: { ...plain.details, retryAfterSeconds: seconds } })
      : plain;
    if (error.details.foreign === true && answer.status === 413) {
      if (sizer.smallest) throw bodyLimitError(part.length, error);
      sizer.refused(part.length);
      return;
    }
    if ((answer.status === 401 || answer.status === 403) && route.refused(target)) return;
    if (answer.status === 408 || answer.status === 504) sizer.stalled(part.length);
    await this.#recover(error);
  }

  /** Waits until trying again makes sense and knows what the server has; throws when it never will. */
  async #recover(error: HawserError): Promise<void> {
    const { patience, signal } = this.#parts;
    signal.throwIfAborted();
    if (error.code === 'paused') await this.#untilOpen(error);
    else await patience.outlast(error);
    await this.refresh();
  }

  async #untilOpen(error: HawserError): Promise<void> {
    const { api, clock, patience, signal, status, uploadId } = this.#parts;
    for (;;) {
      status.change({ waiting: { code: 'paused', reason: error.message, until: clock.now() + POLL_MS } });
      await clock.delay(POLL_MS, signal);
      const upload = await patience.persist(() => api.upload(uploadId, signal));
      if (upload.state === 'paused') continue;
      refuseEnded(upload);
      status.change({ waiting: null });
      return;
    }
  }
}

/** Throws when nothing can be sent to this Upload any more. */
export function refuseEnded(upload: UploadResource): void {
  const code = ({ cancelled: 'cancelled', expired: 'expired', failed: 'conflict' } as const)[upload.state as string];
  if (code === undefined) return;
  throw new HawserError(
    code,
    `The upload ${upload.id} of "${upload.name}" was ${upload.state}${upload.status === '' ? '' : `: ${upload.status}`}.`,
    { details: { next: 'Begin it anew.', uploadId: upload.id } },
  );
}

function bodyLimitError(length: number, cause: HawserError): HawserError {
  return new HawserError(
    'too-large',
    `Something between here and the server refuses request bodies of ${length / 1024} KiB (413).`,
    {
      cause,
      details: { next: 'Raise the body limit of the proxy in front of Hawser (nginx: client_max_body_size 0).' },
    },
  );
}
