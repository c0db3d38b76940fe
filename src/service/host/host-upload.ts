import type { UploadReport } from '../../contract/link.ts';
import type { ByteSource } from '../../core/bytes.ts';
import { type HawserError, toHawserError } from '../../core/errors.ts';
import type { Range, RangeSet } from '../../core/range.ts';
import type { EngineMeans, Incoming } from '../../engine/incoming.ts';
import type { PassingDigests } from '../../engine/passing-digests.ts';
import type { RateLimit } from '../../engine/rate-limit.ts';
import { receiveBody } from '../../engine/receive.ts';
import type { JournalRecord } from '../../engine/upload-journal.ts';
import { inspect } from '../../formats/inspect.ts';
import { verdictError } from '../../formats/verdict.ts';
import type { Store } from '../../stores/store.ts';
import { finalSize, mustBeWhole, mustFit, sizedAs } from './admission.ts';
import type { RangesFacts, ReceiptFacts, ReceiveRequest } from './data-plane.ts';
import { HeadWatch } from './head-watch.ts';
import { KeptRecord } from './kept-record.ts';
import type { StateFolder, UploadRecord } from './ports.ts';
import { sealedFacts } from './sealed-facts.ts';
import { UnderWay } from './under-way.ts';
import { checkSealed, closed, type FinishWanted, paused, treeMismatch } from './upload-refusals.ts';
import type { WatchedJournal } from './watched-journal.ts';

export interface HostUploadParts {
  readonly record: UploadRecord;
  readonly incoming: Incoming;
  readonly journal: WatchedJournal;
  readonly store: Store;
  readonly state: StateFolder;
  readonly means: EngineMeans;
  readonly digests: PassingDigests;
  readonly limit: RateLimit | undefined;
  /** It was sealed, and the Store has it no more. */
  readonly vanished?: HawserError | undefined;
  readonly now: () => Date;
  /** Something that a report tells has changed. */
  readonly changed: () => void;
}

/** One Upload on its host: takes bytes in, tells what it has, pauses, seals. */
export class HostUpload {
  readonly #parts: HostUploadParts;
  readonly #underWay = new UnderWay();
  readonly #kept: KeptRecord;
  #activeAt: Date | null = null;
  #problem: HawserError | undefined;
  readonly #head: HeadWatch;
  #finishing: Promise<void> | undefined;

  constructor(parts: HostUploadParts) {
    this.#parts = parts;
    this.#kept = new KeptRecord(parts.state, parts.record);
    this.#head = new HeadWatch({
      format: parts.record.format,
      received: parts.incoming.received.all,
      read: (offset, length) => this.#readBack(offset, length),
      refuse: (refusal) => this.#refuseHead(refusal),
      failed: (error) => void this.#noteProblem(error),
    });
    parts.incoming.onAcknowledged = (range) => this.#acknowledged(range);
  }

  get record(): UploadRecord {
    return this.#kept.now;
  }

  /** What is acknowledged, as it is at this moment. */
  get received(): Pick<RangeSet, 'bytes' | 'missing' | 'inside'> {
    return this.#parts.incoming.received.all;
  }

  /** Bytes that take space. */
  get storedBytes(): number {
    const { all, zeros } = this.#parts.incoming.received;
    return all.bytes - zeros.bytes;
  }

  /** Told of every record that counts from now on; must not throw. One at a time. */
  set onRecord(listener: (record: JournalRecord) => void) {
    this.#parts.journal.onRecord = listener;
  }

  /** Bytes of its reservation that are not written yet. */
  get outstanding(): number {
    return Math.max(0, this.record.reserve - this.storedBytes);
  }

  report(): UploadReport {
    const { all, zeros } = this.#parts.incoming.received;
    const { vanished } = this.#parts;
    const problem = vanished ?? this.#problem ?? this.#parts.incoming.failure;
    return {
      uploadId: this.record.uploadId,
      generation: this.record.generation,
      state: this.record.state,
      declaredSize: this.record.declaredSize,
      receivedBytes: all.bytes,
      zeroBytes: zeros.bytes,
      activeAt: this.#activeAt?.toISOString() ?? null,
      connections: this.#underWay.count,
      pull: null,
      problem: problem === undefined ? null : { code: problem.code, message: problem.message },
      sealed: this.record.state === 'sealed' && vanished === undefined ? this.record.sealed : null,
    };
  }

  /** Reads back what was received. */
  read(into: Uint8Array, offset: number): Promise<void> {
    return this.#parts.incoming.writer.read(into, offset);
  }

  /** Its size, as its client says it only now. Once there is data another one than before is `size-mismatch`. */
  async setSize(size: number): Promise<void> {
    this.#mustBeOpen();
    await this.#kept.save((now) => sizedAs(now, this.#parts.incoming.received.end, size));
    this.#parts.changed();
  }

  admit(request: ReceiveRequest): void {
    this.#mustBeOpen();
    mustFit(this.record, this.#parts.incoming.received.all, request);
  }

  async receive(request: ReceiveRequest, source: ByteSource, signal: AbortSignal): Promise<ReceiptFacts> {
    this.admit(request);
    return this.#while(async (stop) => {
      const length = await this.#receive(request, source, AbortSignal.any([signal, stop]));
      this.#clearProblem();
      return this.#receipt(length);
    });
  }

  async #receive(request: ReceiveRequest, source: ByteSource, signal: AbortSignal): Promise<number> {
    const watch = this.#parts.digests.join(request.offset);
    let outcome: 'whole' | 'broken' = 'broken';
    try {
      const length = await receiveBody(
        { incoming: this.#parts.incoming, means: this.#parts.means },
        {
          offset: request.offset,
          length: request.length,
          end: this.record.declaredSize ?? this.record.maxSize,
          digest: request.digest,
          limit: this.#parts.limit,
          watch,
          onBytes: () => {
            this.#activeAt = this.#parts.now();
          },
        },
        source,
        signal,
      );
      outcome = 'whole';
      return length;
    } finally {
      if (watch !== undefined) this.#parts.digests.release(outcome);
    }
  }

  async zeros(ranges: readonly Range[]): Promise<ReceiptFacts> {
    for (const range of ranges) this.admit({ ...range, total: null });
    return this.#while(async (stop) => {
      for (const range of ranges) {
        await this.#parts.incoming.zero(range, stop);
        await this.#parts.digests.zeros(range.offset, range.length);
        stop.throwIfAborted();
      }
      this.#activeAt = this.#parts.now();
      this.#clearProblem();
      return this.#receipt(lengthOf(ranges));
    });
  }

  async discard(ranges: readonly Range[]): Promise<ReceiptFacts> {
    for (const range of ranges) this.admit({ ...range, total: null });
    return this.#while(async () => {
      this.#parts.digests.abandon();
      await this.#parts.incoming.discard(ranges);
      return this.#receipt(lengthOf(ranges));
    });
  }

  async ranges(): Promise<RangesFacts> {
    const { incoming } = this.#parts;
    const { received } = incoming;
    const size = this.#sizeSoFar();
    const { fragments } = await incoming.partialLeaves(size, { first: 0, count: 0 });
    return {
      declaredSize: this.record.declaredSize,
      receivedBytes: received.all.bytes,
      ranges: [...received.all],
      zeros: [...received.zeros],
      fragments,
    };
  }

  async leaves(first: number, count: number): Promise<Uint8Array> {
    const { leaves } = await this.#parts.incoming.partialLeaves(this.#sizeSoFar(), { first, count });
    return leaves.bytes;
  }

  /** All of them. Everything must have been received. */
  async wholeLeaves(size: number): Promise<Buffer> {
    return (await this.#parts.incoming.leaves(size)).bytes;
  }

  /** Of its source, kept beside it: null forgets it. */
  async noteValidator(validator: string | null): Promise<void> {
    await this.#kept.save((now) => (now.validator === validator ? undefined : { validator }));
  }

  /** Does nothing while it is being finished. */
  async pause(): Promise<void> {
    const mayPause = ({ state }: UploadRecord) => state === 'open' && this.#underWay.shut === undefined;
    if (!(await this.#kept.save((now) => (mayPause(now) ? { state: 'paused' } : undefined)))) return;
    this.#underWay.abort(paused());
    this.#parts.changed();
  }

  async resume(): Promise<void> {
    if (!(await this.#kept.save(({ state }) => (state === 'paused' ? { state: 'open' } : undefined)))) return;
    this.#problem = undefined;
    this.#parts.changed();
  }

  /** Seals; repeatable. Callers at once come one after the other, so each is told about what it wanted. */
  finish(wanted: FinishWanted): Promise<void> {
    const before = this.#finishing ?? Promise.resolve();
    const mine = before.catch(() => {}).then(() => this.#finish(wanted)); // the earlier caller hears its own error
    this.#finishing = mine;
    return mine.finally(() => {
      if (this.#finishing === mine) this.#finishing = undefined;
      this.#parts.changed();
    });
  }

  /** Stops what is under way and closes; bytes and journal stay. Whoever comes later is told the reason. */
  async close(reason: HawserError): Promise<void> {
    this.#parts.digests.abandon();
    await this.#underWay.close(reason);
    await this.#finishing?.catch(() => {});
    await this.#kept.settled();
    await this.#parts.incoming.quiet();
    await this.#parts.incoming.writer[Symbol.asyncDispose]();
    await this.#parts.journal[Symbol.asyncDispose]();
  }

  /** As `close`, and removes what was written. */
  async discardAll(reason: HawserError): Promise<void> {
    await this.close(reason);
    await this.#parts.store.remove(this.record.key);
  }

  async #finish(wanted: FinishWanted): Promise<void> {
    if (this.#parts.vanished !== undefined) throw this.#parts.vanished;
    if (this.record.state === 'sealed' || (await this.#completeSeal())) return checkSealed(this.record.sealed, wanted);
    this.#mustBeOpen();
    const { received } = this.#parts.incoming;
    const size = finalSize(this.record, received.end, wanted.size);
    mustBeWhole(received.all, size);
    // From here on nothing is let in; what is under way ends first, so that no range and no byte changes below us.
    try {
      await this.#underWay.shutWith(closed('finishing'));
      await this.#parts.incoming.quiet();
      mustBeWhole(received.all, finalSize(this.record, received.end, wanted.size));
      await this.#sealAs(size, wanted.treeDigest);
    } finally {
      this.#underWay.open();
    }
  }

  async #sealAs(size: number, treeDigest: string | null): Promise<void> {
    if (!(await this.#kept.save(({ state }) => (state === 'open' ? { state: 'finishing' } : undefined)))) {
      throw this.#stateRefusal() ?? closed(this.record.state);
    }
    try {
      await this.#seal(size, treeDigest);
    } catch (error) {
      await this.#kept
        .save(() => ({ state: 'open' }))
        .catch(() => {
          // On disk it says finishing, which the next start takes for open as well.
          this.#kept.assume({ state: 'open' });
        });
      throw error;
    }
  }

  /** A seal that got as far as the rename, but not to its last record (a full disk, say), is completed. */
  async #completeSeal(): Promise<boolean> {
    const { sealed, key } = this.record;
    if (sealed === null || (await this.#parts.store.stat(key)).kind !== 'sealed') return false;
    // The new name may not be on the device yet: it was the sync after the rename that failed.
    await this.#parts.incoming.writer.seal(sealed.size);
    const facts = await sealedFacts(this.#parts.store, key, sealed);
    await this.#kept.save(() => ({ state: 'sealed', sealed: facts }));
    return true;
  }

  async #seal(size: number, wantedDigest: string | null): Promise<void> {
    const { incoming, store, state } = this.#parts;
    const leaves = await incoming.leaves(size);
    const treeDigest = leaves.treeDigest();
    if (wantedDigest !== null && wantedDigest !== treeDigest) throw treeMismatch(wantedDigest, treeDigest);
    const reader = { size, read: (offset: number, length: number) => this.#readBack(offset, length) };
    const verdict = await inspect(reader, { declared: this.record.format });
    const refusal = verdictError(verdict, this.record.format);
    if (refusal !== undefined) throw refusal;
    const digests = await this.#parts.digests.finish(size);
    await incoming.sync();
    await incoming.quiet();
    await state.writeLeaves(this.record.storeId, this.record.key, leaves.bytes);
    const virtualSize = verdict.kind === 'safe' ? verdict.virtualSize : size;
    const facts = { size, treeDigest, digests, format: verdict.format, virtualSize, storedSize: 0, fingerprint: '' };
    await this.#kept.save(() => ({ sealed: facts }));
    await incoming.writer.seal(size);
    const sealed = await sealedFacts(store, this.record.key, facts);
    await this.#kept.save(() => ({ state: 'sealed', sealed }));
  }

  #sizeSoFar(): number {
    return this.record.sealed?.size ?? this.record.declaredSize ?? this.#parts.incoming.received.end;
  }

  #receipt(length: number): ReceiptFacts {
    const { all } = this.#parts.incoming.received;
    const { declaredSize } = this.record;
    return { length, receivedBytes: all.bytes, complete: declaredSize !== null && all.bytes >= declaredSize };
  }

  #acknowledged(range: Range): void {
    this.#parts.changed();
    this.#head.acknowledged(range, this.record.declaredSize);
  }

  async #refuseHead(refusal: HawserError): Promise<void> {
    // One that is being finished is judged there.
    const mayFail = ({ state }: UploadRecord) =>
      (state === 'open' || state === 'paused') && this.#underWay.shut === undefined;
    if (!(await this.#kept.save((now) => (mayFail(now) ? { state: 'failed' } : undefined)))) return;
    this.#problem = refusal;
    this.#underWay.abort(refusal);
    this.#parts.changed();
  }

  async #readBack(offset: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.alloc(length);
    await this.#parts.incoming.writer.read(bytes, offset);
    return bytes;
  }

  #mustBeOpen(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
  }

  #refusal(): HawserError | undefined {
    return this.#parts.incoming.failure ?? this.#underWay.shut ?? this.#stateRefusal();
  }

  #stateRefusal(): HawserError | undefined {
    const { state } = this.record;
    if (state === 'open') return undefined;
    if (state === 'paused') return paused();
    return this.#problem ?? closed(state);
  }

  async #while<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await this.#underWay.run(work);
    } catch (error) {
      throw this.#noteProblem(error);
    } finally {
      this.#parts.changed();
    }
  }

  #noteProblem(error: unknown): HawserError {
    const known = toHawserError(error);
    if (known.code === 'store-full' || known.code === 'store-failed') {
      this.#problem = known;
      this.#parts.changed();
    }
    return known;
  }

  #clearProblem(): void {
    if (this.#problem !== undefined && this.record.state === 'open') this.#problem = undefined;
    this.#parts.changed();
  }
}

function lengthOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}
