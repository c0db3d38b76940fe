import type { ByteSource } from '../../core/bytes.ts';
import { type HawserError, isHawserError, toHawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { EngineMeans } from '../../engine/incoming.ts';
import type { ChunkAside } from './chunk-aside.ts';
import { ChunkGuesses } from './chunk-guesses.ts';
import * as refusals from './chunk-refusals.ts';
import { type ReadBack, readingSource, sha512Of } from './chunk-source.ts';
import type { ChunkPlace, ChunkTable, KnownChunk } from './chunk-table.ts';
import type { HostUpload } from './host-upload.ts';
import { sizeMismatch } from './upload-refusals.ts';
import type { ChunkName, UploadServerWire } from './upload-server-wire.ts';

export interface UploadChunksParts {
  readonly upload: HostUpload;
  readonly table: ChunkTable;
  readonly aside: ChunkAside;
  readonly means: EngineMeans;
}

/**
 * One Upload as its client cuts it into chunks. Chunks whose place is known are landed there; others wait
 * beside the Upload and are landed from there once the sizes before them are known. One Upload, one journal:
 * what came another way (a native PUT) counts here, and the reverse.
 */
export class UploadChunks implements Omit<UploadServerWire, 'close'> {
  readonly #upload: HostUpload;
  readonly #table: ChunkTable;
  readonly #aside: ChunkAside;
  readonly #means: EngineMeans;
  readonly #guesses: ChunkGuesses;
  #turn: Promise<unknown> = Promise.resolve();
  #doubtsMet = 0;
  #settledTo = 0;
  #closed = false;

  constructor(parts: UploadChunksParts) {
    this.#upload = parts.upload;
    this.#table = parts.table;
    this.#aside = parts.aside;
    this.#means = parts.means;
    this.#guesses = new ChunkGuesses(parts.upload, parts.table);
    this.#doubtsMet = -1; // what a crash left half moved is looked for first
    this.#table.layout.setTotal(this.#upload.record.declaredSize);
  }

  async start(size: number): Promise<void> {
    if (this.#sealedSize !== undefined) return refusals.mustBeSame(size, this.#sealedSize);
    if (this.#upload.record.declaredSize === size) return this.#table.layout.setTotal(size);
    if (this.#table.aside.size > 0) throw refusals.sizeIsSet(size, this.#upload.record.declaredSize);
    await this.#upload.setSize(size);
    this.#table.layout.setTotal(size);
  }

  async prepareChunk(chunk: ChunkName & { readonly size: number }): Promise<boolean> {
    const known = await this.#inTurn(async () => {
      await this.#settleDoubts();
      const before = this.#table.get(chunk.index);
      if (before?.size === chunk.size && before.checksum === chunk.checksum) return before;
      if (this.#sealedSize !== undefined) return undefined;
      if (before !== undefined) await this.#drop(before);
      await this.#table.prepared(chunk);
      await this.#settleDoubts();
      return this.#table.get(chunk.index);
    });
    return known !== undefined && this.#isHere(known);
  }

  async uploadChunk(name: ChunkName, source: ByteSource, signal: AbortSignal): Promise<void> {
    const chunk = this.#table.get(name.index);
    if (chunk?.checksum !== name.checksum) throw refusals.notPrepared(name.index);
    if (this.#sealedSize !== undefined && chunk.place !== undefined) return source.drain(() => undefined, signal);
    const offset = chunk.place?.kind === 'aside' ? undefined : (chunk.place?.offset ?? this.#guesses.placeFor(chunk));
    const arrived = this.#guesses.fly(name.index, offset);
    try {
      // Said before it is so: a guess that a crash left unsaid would look like bytes whose place is certain.
      const isGuess = offset !== undefined && chunk.place === undefined && !this.#table.layout.isCertain(name.index);
      if (isGuess) await this.#table.placed(name.index, offset, 'landing');
      const place =
        offset === undefined
          ? await this.#landAside(chunk, source, signal)
          : await this.#land({ ...chunk, offset }, source, signal);
      await this.#inTurn(() => this.#record(chunk, place));
    } finally {
      // Only now: what has landed and is not recorded yet may still have to be taken out again.
      arrived();
    }
    if (this.#table.aside.size > 0) void this.#inTurn(() => this.#settle()).catch(() => {}); // coalesce does it again, and tells
  }

  async coalesceChunk({ size, count }: { readonly size: number; readonly count: number }): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#sealedSize !== undefined) return refusals.mustBeSame(size, this.#sealedSize);
      await this.start(size);
      await this.#settleDoubts();
      await this.#dropExtras(size, count);
      const problem = await this.#settleAll();
      const whole = { offset: 0, length: size };
      if (!this.#has(whole) || this.#guesses.lyingIn([whole]).length > 0)
        throw problem ?? this.#incomplete(size, count);
      await this.#upload.finish({ size, treeDigest: null });
    });
  }

  async upload(size: number, source: ByteSource, signal: AbortSignal): Promise<void> {
    await this.start(size);
    const whole = { offset: 0, length: size };
    const body = { offset: 0, length: null, total: size };
    await this.besideOthers([whole], () => this.#upload.receive(body, source, signal));
    await this.withoutGuesses(() => this.#upload.finish({ size, treeDigest: null }));
  }

  /**
   * Runs what makes the Upload whole for somebody who does not send in chunks: what lies there by a guess is taken out
   * first, and is missing then. Throws `unavailable` while such a chunk is just arriving.
   */
  async withoutGuesses<T>(finish: () => Promise<T>): Promise<T> {
    const done = this.#guesses.keepOff([everything]);
    try {
      if (this.#sealedSize === undefined) {
        await this.#inTurn(async () => {
          await this.#takeOutOf([everything]);
          if (this.#guesses.flying) throw refusals.guessArriving();
        });
      }
      return await finish();
    } finally {
      done();
    }
  }

  /**
   * Lands what is sent here without chunks. A chunk that lies there only by a guess makes room first, and waits beside
   * until its place is certain: its client never said that it belongs there, this one does.
   */
  async besideOthers<T>(ranges: readonly Range[], land: () => Promise<T>): Promise<T> {
    const done = this.#guesses.keepOff(ranges);
    try {
      await this.#makeRoom(ranges);
      return await land();
    } catch (error) {
      // One that was on its way has come there meanwhile.
      if (isHawserError(error, 'range-conflict') && (await this.#makeRoom(ranges))) throw refusals.roomMade(error);
      throw error;
    } finally {
      done();
    }
  }

  /** What was received stays. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
    await this.#aside.close();
    await this.#table[Symbol.asyncDispose]();
  }

  get #sealedSize(): number | undefined {
    const { state, sealed } = this.#upload.record;
    return state === 'sealed' ? sealed?.size : undefined;
  }

  // ---- taking

  /** Chunks that lie in these ranges by a guess are taken out. Answers whether there were any. */
  async #makeRoom(ranges: readonly Range[]): Promise<boolean> {
    if (this.#sealedSize !== undefined || this.#table.layout.allCertain) return false;
    return this.#inTurn(() => this.#takeOutOf(ranges));
  }

  async #takeOutOf(ranges: readonly Range[]): Promise<boolean> {
    const guessed = this.#guesses.lyingIn(ranges);
    for (const { chunk, from } of guessed) await this.#takeOut(chunk, from);
    return guessed.length > 0;
  }

  async #land(
    chunk: KnownChunk & { readonly offset: number },
    source: ByteSource,
    signal: AbortSignal,
  ): Promise<ChunkPlace> {
    const { index, offset, size } = chunk;
    try {
      const digest = { algorithm: 'sha512', bytes: Buffer.from(chunk.checksum, 'hex') } as const;
      await this.#upload.receive({ offset, length: size, total: null, digest }, source, signal);
      return { kind: 'placed', offset };
    } catch (error) {
      if (isHawserError(error, 'range-conflict')) this.#guesses.refused(index);
      await this.#inTurn(() => this.#notLanded(chunk));
      throw refusals.ofChunk(chunk, error);
    }
  }

  async #notLanded({ index, offset }: { readonly index: number; readonly offset: number }): Promise<void> {
    const place = this.#table.get(index)?.place;
    if (place?.kind === 'placed' && place.how === 'landing' && place.offset === offset)
      await this.#table.dropped(index);
  }

  async #landAside(chunk: KnownChunk, source: ByteSource, signal: AbortSignal): Promise<ChunkPlace> {
    this.#upload.admit({ offset: 0, length: 0, total: null });
    const sha512 = Buffer.from(chunk.checksum, 'hex');
    const { declaredSize } = this.#upload.record;
    try {
      const offset = await this.#aside.receive({ length: chunk.size, sha512, declaredSize }, source, signal);
      return { kind: 'aside', offset };
    } catch (error) {
      throw refusals.ofChunk(chunk, error);
    }
  }

  /** Its bytes are at `place` now. Meanwhile it may have been prepared anew, or have come another time. */
  async #record(chunk: KnownChunk, place: ChunkPlace): Promise<void> {
    const now = this.#table.get(chunk.index);
    if (now === undefined || now.size !== chunk.size || now.checksum !== chunk.checksum) {
      await this.#forget({ ...chunk, place });
      throw refusals.preparedAnew(chunk.index);
    }
    if (now.place?.kind === 'placed' && place.kind === 'aside') return this.#forget({ ...chunk, place });
    if (place.kind === 'aside') {
      await this.#table.putAside(chunk.index, place.offset);
      this.#settledTo = Math.min(this.#settledTo, chunk.index);
    } else await this.#table.placed(chunk.index, place.offset);
    if (now.place?.kind === 'aside') await this.#aside.free({ offset: now.place.offset, length: now.size });
    // While it travelled its place may have turned out to be another one.
    const wrong = place.kind === 'placed' && this.#table.layout.offsetOf(chunk.index) !== place.offset;
    if (wrong) await this.#takeOut(chunk, place.offset);
  }

  // ---- looking

  /** Whether exactly this chunk is here. What is not right is cleaned away. */
  async #isHere(chunk: KnownChunk): Promise<boolean> {
    const { index, size, place } = chunk;
    if (place === undefined) return this.#cameAnotherWay(chunk);
    const range = { offset: place.offset, length: size };
    if (place.kind === 'placed' && !this.#has(range)) {
      await this.#inTurn(() => this.#table.dropped(index));
      return false;
    }
    if (
      chunk.verified ||
      (await this.#matches(chunk, place.kind === 'placed' ? this.#readPlaced : this.#readAside, range))
    ) {
      this.#table.verified(index);
      return true;
    }
    await this.#inTurn(() => this.#drop(chunk));
    return false;
  }

  /** A native PUT, or a record that a power cut took: the bytes say it. */
  async #cameAnotherWay(chunk: KnownChunk): Promise<boolean> {
    const offset = this.#table.layout.offsetOf(chunk.index);
    if (offset === undefined) return false;
    const range = { offset, length: chunk.size };
    if (!this.#has(range) || !(await this.#matches(chunk, this.#readPlaced, range))) return false;
    await this.#inTurn(() => this.#table.placed(chunk.index, offset, 'found'));
    return true;
  }

  #has(range: Range): boolean {
    return this.#upload.received.missing(range).next().done === true;
  }

  async #matches(chunk: KnownChunk, read: ReadBack, range: Range): Promise<boolean> {
    return (await sha512Of(this.#means, read, range)).startsWith(chunk.checksum);
  }

  readonly #readPlaced: ReadBack = (into, offset) => this.#upload.read(into, offset);
  readonly #readAside: ReadBack = (into, offset) => this.#aside.read(into, offset);

  // ---- putting into place

  /** Chunks that were landed where they do not belong, as is known now, are taken out of there. */
  async #settleDoubts(): Promise<void> {
    const { layout } = this.#table;
    if (layout.doubts === this.#doubtsMet || this.#sealedSize !== undefined) return;
    for (const chunk of [...this.#table.all()]) {
      if (chunk.leaving !== undefined) await this.#leave(chunk);
      if (chunk.place?.kind !== 'placed' || layout.offsetOf(chunk.index) === chunk.place.offset) continue;
      // Whose bytes they are, that one said where: they only looked like this chunk.
      if (chunk.place.how === 'found') await this.#table.dropped(chunk.index);
      else await this.#takeOut(chunk, chunk.place.offset);
    }
    this.#doubtsMet = layout.doubts;
    this.#settledTo = 0;
  }

  async #takeOut(chunk: KnownChunk, from: number): Promise<void> {
    const range = { offset: from, length: chunk.size };
    if (!this.#has(range)) return this.#table.dropped(chunk.index);
    const sha512 = Buffer.from(chunk.checksum, 'hex');
    const body = { length: chunk.size, sha512, declaredSize: this.#upload.record.declaredSize };
    let offset: number;
    try {
      offset = await this.#aside.receive(body, readingSource(this.#readPlaced, range), never);
    } catch (error) {
      // Nowhere to keep it, or it was damaged there: it has to be sent again.
      if (!['store-full', 'too-large', 'digest-mismatch'].includes(toHawserError(error).code)) throw error;
      const how = chunk.place?.kind === 'placed' ? chunk.place.how : undefined;
      return this.#drop({ ...chunk, place: { kind: 'placed', offset: from, how } });
    }
    await this.#table.putAside(chunk.index, offset, from);
    await this.#leave({ ...chunk, leaving: from });
  }

  async #leave(chunk: KnownChunk): Promise<void> {
    if (chunk.leaving === undefined) return;
    await this.#upload.discard([{ offset: chunk.leaving, length: chunk.size }]);
    await this.#table.left(chunk.index);
  }

  /** Lands those that wait beside and whose place has become known. */
  async #settle(): Promise<void> {
    if (this.#closed || this.#guesses.astray) return;
    await this.#settleDoubts();
    const { aside, layout } = this.#table;
    for (; this.#settledTo < layout.reach; this.#settledTo++) {
      if (aside.has(this.#settledTo)) await this.#putInPlace(this.#settledTo);
    }
  }

  /** As `settle`, all of them; answers the first reason why one could not be placed. */
  async #settleAll(): Promise<HawserError | undefined> {
    let problem: HawserError | undefined;
    for (const index of [...this.#table.aside]) {
      try {
        await this.#putInPlace(index);
      } catch (error) {
        problem ??= toHawserError(error);
      }
    }
    return problem;
  }

  async #putInPlace(index: number): Promise<void> {
    const chunk = this.#table.get(index);
    const offset = this.#table.layout.offsetOf(index);
    const { declaredSize } = this.#upload.record;
    // Nothing is moved by a guess.
    if (chunk?.place?.kind !== 'aside' || offset === undefined || !this.#table.layout.isCertain(index)) return;
    if (declaredSize !== null && offset + chunk.size > declaredSize) return;
    const waiting = { offset: chunk.place.offset, length: chunk.size };
    const digest = { algorithm: 'sha512', bytes: Buffer.from(chunk.checksum, 'hex') } as const;
    const source = readingSource(this.#readAside, waiting);
    try {
      await this.#upload.receive({ offset, length: chunk.size, total: null, digest }, source, never);
    } catch (error) {
      if (!isHawserError(error, 'digest-mismatch')) throw error;
      return this.#drop(chunk); // it was damaged where it waited, so it has to be sent again
    }
    await this.#table.placed(index, offset);
    await this.#aside.free(waiting);
  }

  // ---- dropping

  async #drop(chunk: KnownChunk): Promise<void> {
    await this.#table.dropped(chunk.index);
    await this.#forget(chunk);
  }

  async #forget({ place, size }: KnownChunk): Promise<void> {
    if (place?.kind === 'aside') await this.#aside.free({ offset: place.offset, length: size });
    // What was not landed by its own body may be somebody else's.
    const landed = place?.kind === 'placed' && place.how === undefined;
    if (landed) await this.#upload.discard([{ offset: place.offset, length: size }]);
  }

  /** Chunks of `count` and up go, if those below it are all there is. */
  async #dropExtras(size: number, count: number): Promise<void> {
    const extras = [...this.#table.all()].filter(({ index, place }) => index >= count && place !== undefined);
    if (extras.length === 0 || this.#table.layout.endOf(count) !== size) return;
    for (const chunk of extras) await this.#drop(chunk);
  }

  #incomplete(size: number, count: number): HawserError {
    const missing = this.#table.missingBelow(count, refusals.MOST_MISSING);
    if (missing.length > 0) return refusals.chunksMissing(missing, count);
    const held = this.#table.layout.endOf(count);
    return held === undefined || held === size ? refusals.chunksMissing([], count) : sizeMismatch(size, held);
  }

  /** One after the other: what decides about places never runs twice at once. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(() => {
      if (this.#closed) throw refusals.closing();
      return act();
    });
    this.#turn = mine.catch(() => {}); // who asked for it is told
    return mine;
  }
}

/** Work of ours that nobody waits for at a socket is stopped by closing the Upload. */
const never = new AbortController().signal;

const everything: Range = { offset: 0, length: Number.MAX_SAFE_INTEGER };
