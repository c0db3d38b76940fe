import type { ByteSource } from '../../core/bytes.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { inLanes } from '../../core/in-lanes.ts';
import { cutAt, type Range } from '../../core/range.ts';
import type { Slots } from '../../core/slots.ts';
import type { HostUpload } from './host-upload.ts';
import type { UrlAnswer, UrlFile } from './ports.ts';
import type { PullWork } from './pull.ts';
import { packingOf, unpackedIfPacked } from './unpack.ts';
import { beyondLimit, sizeMismatch } from './upload-refusals.ts';

/** Requests that are under way at once, at first: a server that refuses is asked by fewer. */
const LANES = 4;
/** Bytes of one request. */
const PIECE = 32 * 1024 * 1024;
/** What the first request asks for: it tells size, validator, whether ranges work, and how it is packed. */
const PROBE = 64;
/** Content-Encodings of packings that are told by their first bytes, and unpacked (RFC 9110 8.4.1, RFC 8878). */
const UNPACKED: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'zstd']);
/** Unpacked bytes after which the room in the Store is looked at again. */
const ROOM_EVERY = 64 * 1024 * 1024;

export interface UrlPullParts {
  readonly upload: HostUpload;
  readonly file: UrlFile;
  readonly decompress: 'none' | 'auto';
  /** Throws `store-full` when so many bytes more would take what is promised to others. */
  readonly mustHaveRoom: (bytes: number) => Promise<void>;
  /** How many are unpacked at once: those of all Uploads of the agent together. */
  readonly unpacking: Slots;
  /** Bytes that the Store could hold when empty. */
  readonly capacity: () => Promise<number>;
}

/**
 * Fetches an Upload's bytes from a URL. Where the server serves ranges of what provably stays the same,
 * several at once and only what is missing; else in one stream from the start, which is compared with what
 * was received before (write-once), never spliced.
 */
export class UrlPull implements PullWork {
  readonly #parts: UrlPullParts;
  #lanes = LANES;
  #noRanges = false;

  constructor(parts: UrlPullParts) {
    this.#parts = parts;
  }

  async attempt(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    try {
      await this.#attempt(both);
    } catch (error) {
      signal.throwIfAborted();
      if (isHawserError(error, 'range-conflict')) throw changed(this.#parts.file.host);
      if (isHawserError(error) && (error.code === 'too-many' || error.code === 'unavailable'))
        this.#lanes = Math.max(1, this.#lanes >> 1);
      throw error;
    } finally {
      stop.abort(new HawserError('cancelled', 'The attempt is over.')); // whatever is still connected
    }
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#parts.file[Symbol.asyncDispose]();
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const probe = this.#noRanges ? undefined : await this.#get({ offset: 0, length: PROBE }, null, signal);
    if (probe !== undefined) await this.#noteValidator(probe.validator);
    if (probe?.ranged === true) {
      const head = await readAll(probe.body, signal);
      const plain = this.#parts.decompress === 'none' || packingOf(head) === undefined;
      if (plain && probe.size !== null && this.#mayFetchRanges(probe)) {
        await this.#declare(probe.size);
        return this.#ranges({ offset: 0, length: probe.size }, probe.validator, signal);
      }
      return plain ? this.#streamPlain(undefined, signal) : this.#streamPacked(signal);
    }
    if (this.#parts.decompress === 'none') return this.#streamPlain(probe, signal);
    probe?.cancel();
    return this.#streamPacked(signal);
  }

  /** Throws `unsupported` when the bytes are not those of the file, and nobody wants them unpacked. */
  async #get(range: Range | null, validator: string | null, signal: AbortSignal): Promise<UrlAnswer> {
    const { file, decompress } = this.#parts;
    const answer = await file.get(range, validator, signal);
    const { encoding } = answer;
    if (encoding === null || (decompress === 'auto' && UNPACKED.has(encoding))) return answer;
    answer.cancel();
    throw packedOnTheWay(file.host, encoding);
  }

  /** Ranges of what provably is what the journal has the rest of. */
  #mayFetchRanges({ validator, size }: UrlAnswer): boolean {
    const { received, record } = this.#parts.upload;
    return size === 0 || (validator !== null && (received.bytes === 0 || record.validator === validator));
  }

  async #noteValidator(validator: string | null): Promise<void> {
    const { upload, file } = this.#parts;
    const before = upload.record.validator;
    if (upload.received.bytes === 0) return upload.noteValidator(validator);
    if (before !== null && validator !== null && before !== validator) throw changed(file.host);
  }

  /** The size that the server tells. */
  async #declare(size: number): Promise<void> {
    const { upload, mustHaveRoom } = this.#parts;
    const { declaredSize, maxSize } = upload.record;
    if (declaredSize !== null && declaredSize !== size) throw sizeMismatch(declaredSize, size);
    if (maxSize !== null && size > maxSize) throw beyondLimit(maxSize);
    await mustHaveRoom(size - upload.received.bytes);
    if (declaredSize === null) await upload.setSize(size);
  }

  // ---- ranges

  async #ranges(whole: Range, validator: string | null, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const wanted = async function* (missing: Iterable<Range>) {
      for (const range of missing) yield* cutAt(range, PIECE);
    };
    const missing = [...this.#parts.upload.received.missing(whole)];
    await inLanes(wanted(missing), this.#lanes, stop, (range) => this.#fetch(range, validator, both));
  }

  async #fetch(range: Range, validator: string | null, signal: AbortSignal): Promise<void> {
    const { upload, file } = this.#parts;
    for (let rest = range; rest.length > 0; ) {
      const answer = await this.#getRange(rest, validator, signal);
      const { offset } = rest;
      const length = answer.length ?? rest.length;
      await upload.receive({ offset, length, total: null }, answer.body, signal);
      // A server may send less of a range than was asked for.
      if (length === 0) throw new HawserError('unsupported', `${file.host} answers a range with nothing.`);
      rest = { offset: offset + length, length: rest.length - length };
    }
  }

  async #getRange(range: Range, validator: string | null, signal: AbortSignal): Promise<UrlAnswer> {
    const { file } = this.#parts;
    try {
      const answer = await this.#get(range, validator, signal);
      if (answer.ranged && answer.validator === validator) return answer;
      answer.cancel();
      if (answer.validator !== validator) throw changed(file.host);
    } catch (error) {
      if (!isHawserError(error, 'unsupported') || error.details.strange !== true) throw error;
    }
    this.#noRanges = true;
    throw new HawserError('unavailable', `${file.host} does not serve ranges as it said; it is fetched in one stream.`);
  }

  // ---- one stream

  async #streamPlain(answered: UrlAnswer | undefined, signal: AbortSignal): Promise<void> {
    const answer = answered ?? (await this.#get(null, null, signal));
    await this.#noteValidator(answer.validator);
    if (answer.size !== null) await this.#declare(answer.size);
    return this.#receive(answer.body, signal);
  }

  /** Packed, or perhaps packed. It waits for its turn before it is asked for: a connection that waits is cut. */
  async #streamPacked(signal: AbortSignal): Promise<void> {
    const { unpacking } = this.#parts;
    await unpacking.take(signal);
    let giveBack = () => {
      giveBack = () => {};
      unpacking.giveBack();
    };
    try {
      const answer = await this.#get(null, null, signal);
      await this.#noteValidator(answer.validator);
      const plain = async () => {
        giveBack();
        if (answer.size !== null) await this.#declare(answer.size);
      };
      await this.#receive(unpackedIfPacked(answer.body, plain), signal);
    } finally {
      giveBack();
    }
  }

  async #receive(source: ByteSource, signal: AbortSignal): Promise<void> {
    const { upload, file } = this.#parts;
    const bounded = await this.#bounded(source);
    const request = { offset: 0, length: null, total: null };
    await upload.receive(request, bounded.source, signal);
    const size = bounded.bytes();
    const beyond = upload.received.inside({ offset: size, length: Number.MAX_SAFE_INTEGER - size }).next();
    if (beyond.done !== true) throw changed(file.host);
    const { declaredSize } = upload.record;
    if (declaredSize !== null && declaredSize !== size) throw sizeMismatch(declaredSize, size);
    await upload.setSize(size);
  }

  /** What unpacks to more than may be is stopped on the way: by maxSize, else by what the Store could hold at all. */
  async #bounded(source: ByteSource): Promise<{ readonly source: ByteSource; readonly bytes: () => number }> {
    const { upload, mustHaveRoom, capacity } = this.#parts;
    const { declaredSize, maxSize } = upload.record;
    const most = maxSize ?? (await capacity());
    let bytes = 0;
    let looked = 0;
    const pass = (chunk: Uint8Array, take: Take): Promise<void> | undefined => {
      bytes += chunk.length;
      if (declaredSize !== null && bytes > declaredSize) throw sizeMismatch(declaredSize, bytes);
      if (bytes > most) throw maxSize === null ? moreThanStore(most) : beyondLimit(most);
      if (bytes - looked < ROOM_EVERY) return take(chunk);
      looked = bytes;
      return mustHaveRoom(0).then(() => take(chunk));
    };
    return {
      bytes: () => bytes,
      source: { drain: (take, signal) => source.drain((chunk) => pass(chunk, take), signal) },
    };
  }
}

type Take = (chunk: Uint8Array) => Promise<void> | undefined;

async function readAll(source: ByteSource, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await source.drain((chunk) => void chunks.push(Buffer.from(chunk)), signal);
  return Buffer.concat(chunks);
}

function packedOnTheWay(host: string, encoding: string): HawserError {
  const name = encoding.slice(0, 40);
  return new HawserError(
    'unsupported',
    UNPACKED.has(encoding)
      ? `${host} sends the file packed (content-encoding: ${name}) although it was asked not to. Have it unpacked on the way (decompress: auto, --unpack), or fetch it from elsewhere.`
      : `${host} sends the file packed in a way that is not known here (content-encoding: ${name}) although it was asked not to. Fetch it from elsewhere.`,
  );
}

function changed(host: string): HawserError {
  return new HawserError(
    'source-changed',
    `The file at ${host} is not the one that was begun with. What was received is kept apart from it: begin the download anew.`,
  );
}

function moreThanStore(capacity: number): HawserError {
  return new HawserError(
    'too-large',
    `It unpacks to more than the ${capacity} bytes that the store could hold. Set uploads.maxSize if it really is so large.`,
    { details: { capacity } },
  );
}
