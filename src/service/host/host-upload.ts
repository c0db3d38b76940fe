import type { UploadReport } from '../../contract/link.ts';
import type { ByteSource } from '../../core/bytes.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { EngineMeans, Incoming } from '../../engine/incoming.ts';
import type { PassingDigests } from '../../engine/passing-digests.ts';
import type { RateLimit } from '../../engine/rate-limit.ts';
import { receiveBody } from '../../engine/receive.ts';
import { earlyVerdict, inspect } from '../../formats/inspect.ts';
import { HEAD_BYTES } from '../../formats/look.ts';
import { verdictError } from '../../formats/verdict.ts';
import type { Store } from '../../stores/store.ts';
import type { RangesFacts, ReceiptFacts, ReceiveRequest } from './data-plane.ts';
import type { SealedFacts, StateFolder, UploadRecord } from './ports.ts';
import { closed, incomplete, paused, sizeMismatch, treeMismatch } from './upload-refusals.ts';

export interface HostUploadParts {
  readonly record: UploadRecord;
  readonly incoming: Incoming;
  readonly journal: AsyncDisposable;
  readonly store: Store;
  readonly state: StateFolder;
  readonly means: EngineMeans;
  readonly digests: PassingDigests;
  readonly limit: RateLimit | undefined;
  readonly now: () => Date;
  /** Something that a report tells has changed. */
  readonly changed: () => void;
}

interface FinishWanted {
  readonly size: number | null;
  /** hex */
  readonly treeDigest: string | null;
}

/** One Upload on its host: takes bytes in, tells what it has, pauses, seals. */
export class HostUpload {
  readonly #parts: HostUploadParts;
  readonly #bodies = new Set<AbortController>();
  #record: UploadRecord;
  #activeAt: Date | null = null;
  #problem: HawserError | undefined;
  #headSeen = false;
  #finishing: Promise<void> | undefined;

  constructor(parts: HostUploadParts) {
    this.#parts = parts;
    this.#record = parts.record;
    parts.incoming.onAcknowledged = (range) => this.#acknowledged(range);
  }

  get record(): UploadRecord {
    return this.#record;
  }

  /** Bytes of its reservation that are not written yet. */
  get outstanding(): number {
    const { all, zeros } = this.#parts.incoming.received;
    return Math.max(0, this.#record.reserve - (all.bytes - zeros.bytes));
  }

  report(): UploadReport {
    const { all, zeros } = this.#parts.incoming.received;
    const problem = this.#problem ?? this.#parts.incoming.failure;
    return {
      uploadId: this.#record.uploadId,
      generation: this.#record.generation,
      state: this.#record.state,
      declaredSize: this.#record.declaredSize,
      receivedBytes: all.bytes,
      zeroBytes: zeros.bytes,
      activeAt: this.#activeAt?.toISOString() ?? null,
      connections: this.#bodies.size,
      problem: problem === undefined ? null : { code: problem.code, message: problem.message },
      sealed: this.#record.state === 'sealed' ? this.#record.sealed : null,
    };
  }

  admit(request: ReceiveRequest): void {
    this.#mustBeOpen();
    const { declaredSize } = this.#record;
    if (declaredSize === null) return;
    if (request.total !== null && request.total !== declaredSize) {
      throw new HawserError(
        'size-mismatch',
        `Content-Range speaks of ${request.total} bytes in all; ${declaredSize} were declared for this upload. Nothing was read.`,
      );
    }
    const end = request.offset + (request.length ?? 0);
    if (end > declaredSize || (request.length === null && request.offset > declaredSize)) {
      throw new HawserError(
        'out-of-range',
        `The range ends at ${end}; ${declaredSize} bytes were declared for this upload. Nothing was read.`,
      );
    }
  }

  async receive(request: ReceiveRequest, source: ByteSource, signal: AbortSignal): Promise<ReceiptFacts> {
    this.admit(request);
    const body = new AbortController();
    const watch = this.#parts.digests.join(request.offset);
    let outcome: 'whole' | 'broken' = 'broken';
    this.#bodies.add(body);
    try {
      const length = await receiveBody(
        { incoming: this.#parts.incoming, means: this.#parts.means },
        {
          offset: request.offset,
          length: request.length,
          end: this.#record.declaredSize,
          digest: request.digest,
          limit: this.#parts.limit,
          watch,
          onBytes: () => {
            this.#activeAt = this.#parts.now();
          },
        },
        source,
        AbortSignal.any([signal, body.signal]),
      );
      outcome = 'whole';
      this.#clearProblem();
      return this.#receipt(length);
    } catch (error) {
      // What fails because it was stopped (the writer is closed by then) is told as what stopped it.
      throw this.#noteProblem(body.signal.aborted ? body.signal.reason : error);
    } finally {
      if (watch !== undefined) this.#parts.digests.release(outcome);
      this.#bodies.delete(body);
      this.#parts.changed();
    }
  }

  async zeros(ranges: readonly Range[]): Promise<ReceiptFacts> {
    for (const range of ranges) this.admit({ offset: range.offset, length: range.length, total: null });
    let length = 0;
    try {
      for (const range of ranges) {
        await this.#parts.incoming.zero(range);
        await this.#parts.digests.zeros(range.offset, range.length);
        length += range.length;
      }
    } catch (error) {
      throw this.#noteProblem(error);
    }
    this.#activeAt = this.#parts.now();
    this.#clearProblem();
    return this.#receipt(length);
  }

  async discard(ranges: readonly Range[]): Promise<ReceiptFacts> {
    this.#mustBeOpen();
    this.#parts.digests.abandon();
    let length = 0;
    for (const range of ranges) {
      await this.#parts.incoming.discard(range);
      length += range.length;
    }
    this.#parts.changed();
    return this.#receipt(length);
  }

  async ranges(): Promise<RangesFacts> {
    const { incoming } = this.#parts;
    const { received } = incoming;
    const size = this.#sizeSoFar();
    const { fragments } = await incoming.partialLeaves(size, { first: 0, count: 0 });
    return {
      declaredSize: this.#record.declaredSize,
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

  async pause(): Promise<void> {
    if (this.#record.state !== 'open') return;
    await this.#save({ state: 'paused' });
    this.#abortBodies(paused());
    this.#parts.changed();
  }

  async resume(): Promise<void> {
    if (this.#record.state !== 'paused') return;
    await this.#save({ state: 'open' });
    this.#problem = undefined;
    this.#parts.changed();
  }

  /** Seals; repeatable, and all callers at once share one run. */
  finish(wanted: FinishWanted): Promise<void> {
    if (this.#record.state === 'sealed') return this.#checkSealed(wanted);
    this.#finishing ??= this.#finish(wanted).finally(() => {
      this.#finishing = undefined;
      this.#parts.changed();
    });
    return this.#finishing;
  }

  /** Stops what is under way and closes; bytes and journal stay. */
  async close(reason: HawserError): Promise<void> {
    this.#abortBodies(reason);
    this.#parts.digests.abandon();
    await this.#finishing?.catch(() => {});
    await this.#parts.incoming.quiet();
    await this.#parts.incoming.writer[Symbol.asyncDispose]();
    await this.#parts.journal[Symbol.asyncDispose]();
  }

  /** As `close`, and removes what was written. */
  async discardAll(reason: HawserError): Promise<void> {
    await this.close(reason);
    await this.#parts.store.remove(this.#record.key);
  }

  async #finish(wanted: FinishWanted): Promise<void> {
    if (await this.#completeSeal()) return this.#checkSealed(wanted);
    if (this.#record.state !== 'open') this.#mustBeOpen();
    const size = this.#finalSize(wanted.size);
    const missing = [...this.#parts.incoming.received.all.missing({ offset: 0, length: size })];
    if (missing.length > 0) throw incomplete(size, missing);
    const before = this.#record.state;
    await this.#save({ state: 'finishing' });
    try {
      this.#abortBodies(closed('finishing'));
      await this.#seal(size, wanted.treeDigest);
    } catch (error) {
      await this.#save({ state: before }).catch(() => {
        // On disk it says finishing, which the next start takes for open as well.
        this.#record = { ...this.#record, state: before };
      });
      throw error;
    }
  }

  /** A seal that got as far as the rename, but not to its last record (a full disk, say), is completed. */
  async #completeSeal(): Promise<boolean> {
    const { sealed, key } = this.#record;
    if (sealed === null || (await this.#parts.store.stat(key)).kind !== 'sealed') return false;
    await this.#save({ state: 'sealed', sealed: await sealedFacts(this.#parts.store, key, sealed) });
    return true;
  }

  async #seal(size: number, wantedDigest: string | null): Promise<void> {
    const { incoming, store, state } = this.#parts;
    const leaves = await incoming.leaves(size);
    const treeDigest = leaves.treeDigest();
    if (wantedDigest !== null && wantedDigest !== treeDigest) throw treeMismatch(wantedDigest, treeDigest);
    const reader = { size, read: (offset: number, length: number) => this.#readBack(offset, length) };
    const verdict = await inspect(reader, { declared: this.#record.format });
    const refusal = verdictError(verdict, this.#record.format);
    if (refusal !== undefined) throw refusal;
    const digests = await this.#parts.digests.finish(size);
    await incoming.sync();
    await incoming.quiet();
    await state.writeLeaves(this.#record.storeId, this.#record.key, leaves.bytes);
    const virtualSize = verdict.kind === 'safe' ? verdict.virtualSize : size;
    const facts = { size, treeDigest, digests, format: verdict.format, virtualSize, storedSize: 0, fingerprint: '' };
    await this.#save({ sealed: facts });
    await incoming.writer.seal(size);
    await this.#save({ state: 'sealed', sealed: await sealedFacts(store, this.#record.key, facts) });
  }

  async #checkSealed(wanted: FinishWanted): Promise<void> {
    const { sealed } = this.#record;
    if (sealed === null) return;
    if (wanted.size !== null && wanted.size !== sealed.size) throw sizeMismatch(wanted.size, sealed.size);
    if (wanted.treeDigest !== null && wanted.treeDigest !== sealed.treeDigest)
      throw treeMismatch(wanted.treeDigest, sealed.treeDigest);
  }

  #finalSize(wanted: number | null): number {
    const { declaredSize } = this.#record;
    const { end } = this.#parts.incoming.received;
    if (wanted !== null && declaredSize !== null && wanted !== declaredSize) throw sizeMismatch(wanted, declaredSize);
    const size = declaredSize ?? wanted ?? end;
    if (end > size) throw sizeMismatch(size, end);
    return size;
  }

  #sizeSoFar(): number {
    return this.#record.sealed?.size ?? this.#record.declaredSize ?? this.#parts.incoming.received.end;
  }

  #receipt(length: number): ReceiptFacts {
    const { all } = this.#parts.incoming.received;
    const { declaredSize } = this.#record;
    return { length, receivedBytes: all.bytes, complete: declaredSize !== null && all.bytes >= declaredSize };
  }

  #acknowledged(range: Range): void {
    this.#parts.changed();
    if (this.#headSeen || range.offset >= HEAD_BYTES) return;
    const head = Math.min(HEAD_BYTES, this.#record.declaredSize ?? HEAD_BYTES);
    if (!this.#parts.incoming.received.all.contains({ offset: 0, length: head })) return;
    this.#headSeen = true;
    void this.#judgeHead(head);
  }

  /** The early verdict: a format that will be refused is refused now, before the rest has travelled. */
  async #judgeHead(length: number): Promise<void> {
    try {
      const refusal = verdictError(
        earlyVerdict(await this.#readBack(0, length), this.#record.format),
        this.#record.format,
      );
      if (refusal === undefined) return;
      this.#problem = refusal;
      await this.#save({ state: 'failed' });
      this.#abortBodies(refusal);
      this.#parts.changed();
    } catch (error) {
      this.#noteProblem(error);
    }
  }

  async #readBack(offset: number, length: number): Promise<Uint8Array> {
    const bytes = Buffer.alloc(length);
    await this.#parts.incoming.writer.read(bytes, offset);
    return bytes;
  }

  #mustBeOpen(): void {
    const { failure } = this.#parts.incoming;
    if (failure !== undefined) throw failure;
    const { state } = this.#record;
    if (state === 'open') return;
    if (state === 'paused') throw paused();
    throw this.#problem ?? closed(state);
  }

  #abortBodies(reason: HawserError): void {
    for (const body of this.#bodies) body.abort(reason);
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
    if (this.#problem !== undefined && this.#record.state === 'open') this.#problem = undefined;
    this.#parts.changed();
  }

  async #save(change: Partial<Pick<UploadRecord, 'state' | 'sealed'>>): Promise<void> {
    const next = { ...this.#record, ...change };
    await this.#parts.state.save(next);
    this.#record = next;
  }
}

/** The facts with what the Store says of the sealed object. */
export async function sealedFacts(store: Store, key: string, facts: SealedFacts): Promise<SealedFacts> {
  const stat = await store.stat(key);
  if (stat.kind !== 'sealed')
    throw new HawserError('store-failed', 'The store does not show the object that was just sealed.');
  return { ...facts, storedSize: stat.storedSize, fingerprint: stat.fingerprint };
}
