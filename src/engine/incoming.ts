import { setImmediate } from 'node:timers/promises';
import { TREE_BLOCK } from '../core/digest.ts';
import { HawserError, isHawserError } from '../core/errors.ts';
import type { Mover } from '../core/mover.ts';
import { type Range, rangeEnd } from '../core/range.ts';
import type { Sender } from '../core/sender.ts';
import type { BlockWriter } from '../stores/store.ts';
import { type Claim, Claims, overtaken } from './claims.ts';
import type { HashPool } from './hash-pool.ts';
import { blocksOf, Received, readLeaves } from './received.ts';
import { type Held, type Reservation, recordOf, settleBoth } from './segments.ts';
import type { Slab, SlabPool } from './slab-pool.ts';
import { StoredBytes } from './stored-bytes.ts';
import type { LeafList } from './tree-digest.ts';
import { unsyncedOf } from './unsynced.ts';
import type { JournalRecord, UploadJournal } from './upload-journal.ts';
import { isZero } from './zeros.ts';

/** Data and journal are synced together after so many bytes or so many milliseconds, and at finish. */
const SYNC_BYTES = 64 * 1024 * 1024;
const SYNC_MS = 2000;
/** Blocks; a few milliseconds. */
const LOOKED_AT_ONCE = 65_536;

export interface EngineMeans {
  readonly slabs: SlabPool;
  readonly hashes: HashPool;
  /** A thread that receives bodies by itself; undefined where there is none. */
  readonly mover?: Mover | undefined;
  /** A thread that sends files by itself; undefined where there is none. */
  readonly sender?: Sender | undefined;
}

/**
 * The bytes of one Upload: its writer, its journal and what is acknowledged. Ranges are write-once:
 * what was received before is compared and skipped, other bytes there are `range-conflict`.
 * A record enters the journal only after its data was written; only then it counts.
 */
export class Incoming {
  readonly received: Received;
  readonly writer: BlockWriter;
  readonly #journal: UploadJournal;
  readonly #means: EngineMeans;
  readonly #boot: Buffer;
  readonly #stored: StoredBytes;
  readonly #claims = new Claims();
  readonly #composing = new Map<number, Promise<void>>();
  #unsynced = 0;
  /** Counts discards: a leaf that was computed across one may be of bytes that are gone. */
  #discards = 0;
  #syncing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #failure: HawserError | undefined;
  /** Told of every range that has just been acknowledged; must not throw. */
  onAcknowledged: (range: Range) => void = () => {};

  private constructor(parts: {
    writer: BlockWriter;
    journal: UploadJournal;
    received: Received;
    means: EngineMeans;
    boot: Buffer;
  }) {
    this.writer = parts.writer;
    this.received = parts.received;
    this.#journal = parts.journal;
    this.#means = parts.means;
    this.#boot = parts.boot;
    this.#stored = new StoredBytes(parts);
  }

  /**
   * Takes up an Upload from its journal. What was not synced before another boot of the machine is read
   * back and compared before it counts. `boot` is the digest of the boot id.
   */
  static async open(parts: {
    writer: BlockWriter;
    journal: UploadJournal;
    means: EngineMeans;
    boot: Buffer;
  }): Promise<Incoming> {
    const received = await Received.replay(parts.journal);
    const incoming = new Incoming({ ...parts, received });
    await incoming.#checkUnsynced();
    return incoming;
  }

  /** Why nothing can be received any more, after a failed sync. */
  get failure(): HawserError | undefined {
    return this.#failure;
  }

  /** The block-bounded stretch `[from, …)` of `slab` as content of `range`; acknowledged once this resolves. */
  async land(slab: Slab, from: number, range: Range): Promise<void> {
    const claims = await this.#enter(range, (piece) => this.#stored.compareWith(slab, from - range.offset, piece));
    try {
      for (const claim of claims) {
        await this.#acknowledge([await this.#write(slab, from + claim.offset - range.offset, claim)]);
      }
    } finally {
      this.#claims.release(claims);
    }
  }

  /** As `land`, but nothing counts before `commit`. */
  async hold(slab: Slab, from: number, range: Range): Promise<readonly Held[]> {
    const claims = await this.#enter(range, (piece) => this.#stored.compareWith(slab, from - range.offset, piece));
    try {
      const held: Held[] = [];
      for (const claim of claims) {
        held.push({ record: await this.#write(slab, from + claim.offset - range.offset, claim), claim });
      }
      for (const { claim } of held) this.#claims.hold(claim);
      return held;
    } catch (error) {
      this.#claims.release(claims);
      throw error;
    }
  }

  /**
   * The digest was right: what was held counts. What others took meanwhile must have been received, and be the same
   * bytes. Throws `unavailable` while it is not known what becomes of theirs.
   */
  async commit(held: readonly Held[]): Promise<void> {
    const mine = held.filter(({ claim }) => !claim.taken);
    const taken = held.filter(({ claim }) => claim.taken);
    // From here to the record nobody may take them over: other bytes would lie there under our digest.
    const firm = mine.map(({ claim }) => this.#claims.claim(claim));
    this.drop(held);
    try {
      for (const { record } of taken) {
        if (!this.received.all.contains(record)) throw overtaken(record);
        await this.#stored.compareRecord(record);
      }
      await this.#acknowledge(mine.map(({ record }) => record));
    } finally {
      this.#claims.release(firm);
    }
  }

  /** The digest was wrong or the body broke off: what was held never was. */
  drop(held: readonly Held[]): void {
    this.#claims.release(held.map(({ claim }) => claim));
  }

  /**
   * The whole range for a writer outside; undefined when some of it was received or is being written. `recall`
   * is called when others want some of it; they wait until it is released.
   */
  reserve(range: Range, recall: () => void): Reservation | undefined {
    const [first] = this.received.all.missing(range);
    if (first?.length !== range.length || !this.#claims.isFree(range)) return undefined;
    const claim = this.#claims.claim(range, recall);
    return {
      acknowledge: async (segments) => {
        for (const { offset, length, sha256 } of segments)
          if (sha256 === null) await this.writer.zero({ offset, length });
        await this.#acknowledge(segments.map(recordOf));
        const next = segments.at(-1);
        if (next === undefined) return;
        claim.length = rangeEnd(claim) - rangeEnd(next);
        claim.offset = rangeEnd(next);
      },
      release: () => this.#claims.release([claim]),
    };
  }

  /** The range is zeros; where data was received before, that must be zeros. */
  async zero(range: Range, signal?: AbortSignal): Promise<void> {
    const claims = await this.#enter(range, (piece) => this.#stored.compareZeros(piece));
    try {
      for (const piece of claims) {
        // Always punched, also where nothing was acknowledged: bytes of a body that broke off may lie there.
        await this.writer.zero(piece, signal);
        await this.#acknowledge([{ kind: 'zero', offset: piece.offset, length: piece.length }]);
      }
    } finally {
      this.#claims.release(claims);
    }
  }

  /**
   * Forgets the ranges, so that they can be sent anew. It survives a power cut before it counts: else new
   * bytes could lie there under the digest of the old ones, which were synced and are not read again. What is just
   * being received there is not forgotten: its record may come behind this one, and would count after a restart.
   */
  async discard(ranges: readonly Range[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#discards++;
    const known = ranges.flatMap((range) => [...this.received.all.inside(range)]);
    const records = known.map(({ offset, length }) => ({ kind: 'discard', offset, length }) as const);
    await this.#journal.append(records);
    await this.#journal.sync().catch((cause: unknown) => this.#fail(cause));
    for (const record of records) this.received.apply(record);
  }

  /** All leaves for content of `size` bytes, with those put together that came in pieces. Everything must be received. */
  async leaves(size: number): Promise<LeafList> {
    await Promise.all(this.#composing.values());
    let looked = 0;
    for (const block of blocksOf({ offset: 0, length: size }, size)) {
      if (!this.received.hasLeaf(block)) await this.#compose(block);
      if (++looked % LOOKED_AT_ONCE === 0) await setImmediate(); // 16 TiB are 16 million blocks
    }
    return (await readLeaves(this.#journal, this.received, size)).leaves;
  }

  /** The leaves known so far, and fragments. */
  partialLeaves(size: number, window: { first: number; count: number }) {
    return readLeaves(this.#journal, this.received, size, window);
  }

  /** Everything acknowledged before the call survives a power cut once this resolves. */
  sync(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unsynced = 0;
    const before = this.#syncing.catch(() => {}); // who asked for it has been told
    this.#syncing = before.then(() => this.#flushBoth());
    return this.#syncing;
  }

  async #flushBoth(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.writer.flush();
      await this.#journal.append([{ kind: 'sync', digest: this.#boot }]);
      await this.#journal.sync();
    } catch (cause) {
      // No room for the record: nothing is lost, it is tried again.
      if (isHawserError(cause, 'store-full')) throw cause;
      await this.#fail(cause);
    }
  }

  /** After a failed fsync the kernel may have dropped what it could not write: nothing unsynced can be trusted. */
  async #fail(cause: unknown): Promise<never> {
    this.#failure = new HawserError(
      'store-failed',
      'The store could not make the received bytes durable, so nothing more is received. What it lost is found and asked for again once the agent has been restarted.',
      { cause },
    );
    await this.#journal.append([{ kind: 'doubt' }]);
    throw this.#failure;
  }

  /** Waits for what is under way and stops the timer. The writer and the journal stay the owner's. */
  async quiet(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#claims.allSettled();
    await Promise.allSettled(this.#composing.values());
    await this.#syncing.catch(() => {});
  }

  // ---- writing

  async #write(slab: Slab, from: number, piece: Range): Promise<JournalRecord & Range> {
    const to = from + piece.length;
    const bytes = slab.bytes.subarray(from, to);
    if (isZero(bytes)) {
      await this.writer.zero(piece);
      return { kind: 'zero', offset: piece.offset, length: piece.length };
    }
    const hashing = this.#means.hashes.leaf(slab, from, to);
    const [digest] = await settleBoth(hashing, this.writer.write(bytes, piece.offset));
    return { kind: 'data', offset: piece.offset, length: piece.length, digest };
  }

  async #acknowledge(records: readonly (JournalRecord & Range)[]): Promise<void> {
    if (records.length === 0) return;
    await this.#append(records);
    let bytes = 0;
    for (const record of records) bytes += record.length;
    this.#unsynced += bytes;
    for (const record of records) {
      this.#composeIfComplete(record);
      this.onAcknowledged(record);
    }
    if (this.#unsynced >= SYNC_BYTES) this.#syncSoon(0);
    else this.#syncSoon(SYNC_MS);
  }

  async #append(records: readonly JournalRecord[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await this.#journal.append(records);
    for (const record of records) this.received.apply(record);
  }

  #syncSoon(ms: number): void {
    if (ms === 0) void this.#syncNow();
    else this.#timer ??= setTimeout(() => void this.#syncNow(), ms).unref();
  }

  async #syncNow(): Promise<void> {
    try {
      await this.sync();
    } catch {
      // A failed fsync stands in #failure and every later call throws it; a full disk is waited out.
      if (this.#failure === undefined) this.#syncSoon(SYNC_MS);
    }
  }

  // ---- overlap

  /**
   * Claims the pieces of `range` that nobody has sent yet, after what was received before passed
   * `compare`. Between the look and the claim nothing is awaited: two that send the same never both write.
   */
  async #enter(range: Range, compare: (known: Range) => Promise<void>): Promise<readonly Claim[]> {
    const { known, claims } = await this.#claims.whenFree(range, () => {
      this.#claims.takeHeld(range);
      const missing = [...this.received.all.missing(range)];
      return { known: [...this.received.all.inside(range)], claims: missing.map((piece) => this.#claims.claim(piece)) };
    });
    try {
      for (const piece of known) await compare(piece);
      return claims;
    } catch (error) {
      this.#claims.release(claims);
      throw error;
    }
  }

  // ---- leaves of blocks that came in pieces

  #composeIfComplete(record: Range): void {
    if (record.length === TREE_BLOCK && record.offset % TREE_BLOCK === 0) return;
    const first = Math.floor(record.offset / TREE_BLOCK);
    const last = Math.floor((rangeEnd(record) - 1) / TREE_BLOCK);
    for (const index of first === last ? [first] : [first, last]) {
      const block = { offset: index * TREE_BLOCK, length: TREE_BLOCK };
      if (this.#composing.has(index) || this.received.hasLeaf(block) || !this.received.all.contains(block)) continue;
      const composing = this.#compose(block)
        .catch(() => {}) // it is done again, and then reported, at finish
        .finally(() => this.#composing.delete(index));
      this.#composing.set(index, composing);
    }
  }

  async #compose(block: Range): Promise<void> {
    const discards = this.#discards;
    await this.#stored.look(block, async (stored, slab) => {
      const digest = await this.#means.hashes.leaf(slab, 0, stored.length);
      if (discards !== this.#discards) return; // these bytes may be gone; the leaf is made again when it is wanted
      await this.#append([{ kind: 'leaf', offset: block.offset, length: block.length, digest }]);
    });
  }

  // ---- after a crash of the machine

  async #checkUnsynced(): Promise<void> {
    const { doubtful, doubt, sameBoot } = await unsyncedOf(this.#journal, this.#boot);
    if (sameBoot && !doubt) return;
    for (const record of doubtful) {
      // After a failed flush the page cache shows bytes that the disk may not have: reading proves nothing.
      if (doubt || record.kind === 'discard') await this.#forget(record);
      else await this.#verifyOrDiscard(record);
    }
    await this.sync();
  }

  async #verifyOrDiscard(record: JournalRecord & Range): Promise<void> {
    if (!this.received.all.contains(record)) return;
    if (record.kind === 'zero') return this.writer.zero(record);
    try {
      await this.#stored.compareRecord(record);
    } catch {
      await this.#forget(record);
    }
  }

  /** A discard that need not be durable by itself: the next start comes to the same. */
  async #forget({ offset, length }: Range): Promise<void> {
    await this.#append([{ kind: 'discard', offset, length }]);
  }
}
