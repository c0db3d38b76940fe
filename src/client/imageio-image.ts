import type { z } from 'zod';
import { TREE_BLOCK } from '../core/digest.ts';
import { HawserError, toHawserError } from '../core/errors.ts';
import type { Range } from '../core/range.ts';
import {
  checksumAnswer,
  errorOfSilence,
  errorOfWire,
  extentsAnswer,
  offerAnswer,
  type TransferUrl,
  type WireAnswer,
} from './imageio-words.ts';
import type { Clock, DownloadTransport, Fetch, GetAnswer, SourceExtent, UploadTransport } from './ports.ts';
import { watched } from './stall-watch.ts';

export interface ImageioParts {
  readonly where: TransferUrl;
  readonly fetch: Fetch;
  readonly transport: UploadTransport & DownloadTransport;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A request of bytes of which nothing has moved for so long is given up, milliseconds; default 60 s. */
  readonly stallMs?: number;
}

/** What a server offers for a ticket. */
export interface Offer {
  readonly features: ReadonlySet<string>;
  /** Of these a part of the image may be asked for. */
  readonly partial: ReadonlySet<string>;
  readonly writable: boolean;
  readonly readers: number;
  readonly writers: number;
  /** Bytes that can be read; undefined: it does not say. */
  readonly size: number | undefined;
  readonly unixSocket: string | undefined;
}

/**
 * An image behind a ticket at a server of ovirt-imageio's protocol: one request each call, nothing is repeated. Throws
 * what `errorOfWire` and `errorOfSilence` make of answers, `connection-lost` for a stalled one, and the signal's reason.
 */
export class ImageioImage {
  readonly where: TransferUrl;
  readonly #parts: ImageioParts;

  constructor(parts: ImageioParts) {
    this.where = parts.where;
    this.#parts = parts;
  }

  /** The same image, for a run of requests that ends with `signal`. */
  under(signal: AbortSignal): ImageioImage {
    return new ImageioImage({ ...this.#parts, signal });
  }

  async offer(): Promise<Offer> {
    const answer = await this.#fetch('OPTIONS', this.where.url);
    if (answer.status !== 200 && answer.status !== 204) throw errorOfWire(answer, this.where);
    const { features, partial, ...told } = this.#parse(offerAnswer, answer.body === '' ? '{}' : answer.body);
    const allow = answer.allow ?? 'OPTIONS,GET,PUT';
    return {
      features: new Set(features),
      partial: new Set(partial),
      writable: /\bPUT\b/i.test(allow),
      readers: told.max_readers,
      writers: told.max_writers,
      size: told.size,
      unixSocket: told.unix_socket,
    };
  }

  /** Data and zeros in order, without gaps; of a part where the offer's `partial` has `extents`. */
  async extents(part?: Range): Promise<readonly SourceExtent[]> {
    const query = part === undefined ? '' : `?start=${part.offset}&length=${part.length}`;
    const listed = this.#parse(extentsAnswer, await this.#ask(`/extents${query}`));
    return listed.map(({ start, length, zero }) => ({ offset: start, length, kind: zero ? 'hole' : 'data' }));
  }

  /**
   * hex of the blkhash with SHA-256 and blocks of 1 MiB: of all it is Hawser's `tree-sha256`. With `part` of those bytes
   * alone, where the offer's `partial` has `checksum`.
   */
  async treeDigest(part?: Range): Promise<string> {
    const range = part === undefined ? '' : `&start=${part.offset}&length=${part.length}`;
    const text = await this.#ask(`/checksum?algorithm=sha256&block_size=${TREE_BLOCK}${range}`);
    return this.#parse(checksumAnswer, text).checksum;
  }

  /** Not flushed. */
  async zero({ offset, length }: Range): Promise<void> {
    await this.#patch({ op: 'zero', offset, size: length, flush: false });
  }

  async flush(): Promise<void> {
    await this.#patch({ op: 'flush' });
  }

  /** `later`: a flush follows, so that this one need not be. */
  async put(
    bytes: Uint8Array,
    offset: number,
    { later, onSent }: { readonly later: boolean; readonly onSent: (bytes: number) => void },
  ): Promise<void> {
    const { transport } = this.#parts;
    const headers = {
      'content-type': 'application/octet-stream',
      'content-range': `bytes ${offset}-${offset + bytes.length - 1}/*`,
    };
    const url = later ? `${this.where.url}?flush=n` : this.where.url;
    const answer = await this.#watched((signal, moved) => {
      const sent = (count: number) => {
        moved(count);
        onSent(count);
      };
      return transport.put({ url, headers, body: bytes, onSent: sent, signal });
    });
    if (answer.status < 200 || answer.status > 299) throw errorOfWire(answer, this.where);
  }

  /** Fills `into` with the bytes from `offset`. `etag`: of the answers before; throws `source-changed` when it is another one now. */
  async get(
    into: Uint8Array,
    offset: number,
    { etag, onReceived }: { readonly etag: string | undefined; readonly onReceived: (bytes: number) => void },
  ): Promise<{ readonly etag: string | undefined }> {
    const { transport } = this.#parts;
    const headers = {
      range: `bytes=${offset}-${offset + into.length - 1}`,
      ...(etag === undefined ? {} : { 'if-range': etag }),
    };
    const answer: GetAnswer = await this.#watched((signal, moved) => {
      const received = (count: number) => {
        moved(count);
        onReceived(count);
      };
      return transport.get({ url: this.where.url, headers, into, onReceived: received, signal });
    });
    const now = answer.headers.etag;
    const other = answer.status === 200 || (answer.status === 206 && etag !== now);
    if (etag !== undefined && other) throw changedError();
    if (answer.status === 200 && (offset > 0 || answer.length !== into.length)) {
      throw new HawserError('unsupported', `${this.where.shown} gives the whole for a part: it knows no ranges.`);
    }
    if (answer.status !== 206 && answer.status !== 200) throw errorOfWire(answer, this.where);
    if (answer.length < into.length) {
      throw new HawserError('connection-lost', `${this.where.shown} sent ${answer.length} of ${into.length} bytes.`);
    }
    return { etag: now };
  }

  async #patch(body: Readonly<Record<string, unknown>>): Promise<void> {
    const answer = await this.#fetch('PATCH', this.where.url, JSON.stringify(body));
    if (answer.status < 200 || answer.status > 299) throw errorOfWire(answer, this.where);
  }

  async #ask(below: string): Promise<string> {
    const answer = await this.#fetch('GET', `${this.where.url}${below}`);
    if (answer.status !== 200) throw errorOfWire(answer, this.where);
    return answer.body;
  }

  /** No patience of its own: a checksum or the flush of a slow disk takes minutes without a word. */
  async #fetch(method: string, url: string, body?: string): Promise<WireAnswer & { readonly allow: string | null }> {
    const { fetch, signal } = this.#parts;
    try {
      const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
      const answer = await fetch(url, { method, headers, signal, ...(body === undefined ? {} : { body }) });
      const { headers: told, status } = answer;
      const [allow, contentRange] = [told.get('allow'), told.get('content-range')];
      return { status, body: await answer.text(), allow, contentRange };
    } catch (error) {
      signal.throwIfAborted();
      throw errorOfSilence(this.where, error);
    }
  }

  async #watched<T>(
    run: (signal: AbortSignal, moved: (bytes: number) => void) => Promise<T & WireAnswer>,
  ): Promise<T & WireAnswer> {
    const { clock, signal, stallMs = 60_000 } = this.#parts;
    try {
      return await watched({ clock, signal, stallMs }, run);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof HawserError ? error : toHawserError(errorOfSilence(this.where, error));
    }
  }

  #parse<T>(schema: z.ZodType<T>, text: string): T {
    const parsed = schema.safeParse(jsonOf(text));
    if (parsed.success) return parsed.data;
    throw new HawserError('unsupported', `${this.where.shown} does not answer as a server of images does.`, {
      details: { next: 'Check the URL: it is https://HOST:54322/images/TICKET.' },
    });
  }
}

function changedError(): HawserError {
  return new HawserError('source-changed', 'The image changed on the server while it was being downloaded.', {
    details: { next: 'Run the same command again: what is right in the file is kept.' },
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
