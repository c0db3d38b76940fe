import type { AgentRequest, UploadReport } from '../../contract/link.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import { sizeTextBeside } from '../../core/size-text.ts';
import { storeTitle } from '../../core/store-title.ts';
import type { FlatAlgorithm } from '../../engine/hash-pool.ts';
import { type EngineMeans, Incoming } from '../../engine/incoming.ts';
import { PassingDigests } from '../../engine/passing-digests.ts';
import { allOf, type RateLimit, TokenBucket } from '../../engine/rate-limit.ts';
import { Received } from '../../engine/received.ts';
import type { BlockWriter, Store } from '../../stores/store.ts';
import { HostUpload } from './host-upload.ts';
import type { HostLog, HostStore, StateFolder, UploadRecord } from './ports.ts';
import { sealedFacts } from './sealed-facts.ts';
import { WatchedJournal } from './watched-journal.ts';

export interface HostUploadsParts {
  readonly hostName: string;
  readonly stores: ReadonlyMap<string, HostStore>;
  readonly state: StateFolder;
  readonly means: EngineMeans;
  readonly now: () => Date;
  readonly monotonic: () => number;
  readonly totalLimit: RateLimit | undefined;
  readonly log: HostLog;
  readonly changed: (uploadId: string) => void;
}

type OpenUpload = AgentRequest<'openUpload'>;

/** All Uploads of this host. They are taken up again from the state folder after a crash. */
export class HostUploads {
  readonly #parts: HostUploadsParts;
  readonly #uploads = new Map<string, HostUpload>();
  readonly #opening = new Map<string, Promise<HostUpload>>();
  readonly #broken: UploadReport[] = [];
  readonly #userLimits = new Map<string, { readonly rate: number; readonly limit: RateLimit }>();

  constructor(parts: HostUploadsParts) {
    this.#parts = parts;
  }

  /** Takes up what is there. One that cannot be taken up is reported with the reason; its bytes stay. */
  async recover(): Promise<void> {
    const { records, unreadable } = await this.#parts.state.list();
    for (const { uploadId, generation, problem } of unreadable) {
      this.#break({ uploadId, generation, state: 'open', declaredSize: null }, problem);
    }
    for (const record of records) {
      const host = this.#parts.stores.get(record.storeId);
      if (host === undefined) {
        this.#parts.log.warn({ event: 'upload.store-missing', uploadId: record.uploadId, storeId: record.storeId });
        continue;
      }
      try {
        await this.#recoverOne(record, host.store);
      } catch (error) {
        this.#break(record, toHawserError(error, 'store-failed'));
      }
    }
  }

  reports(): readonly UploadReport[] {
    return [...[...this.#uploads.values()].map((upload) => upload.report()), ...this.#broken];
  }

  /** Bytes promised to the Uploads of one Store and not written yet. */
  outstanding(storeId: string): number {
    let bytes = 0;
    for (const upload of this.#uploads.values()) if (upload.record.storeId === storeId) bytes += upload.outstanding;
    return bytes;
  }

  /** The same of all Stores that share a filesystem with this one. */
  async #promisedBeside(host: HostStore, filesystem: string | undefined): Promise<number> {
    let bytes = this.outstanding(host.storeId);
    if (filesystem === undefined) return bytes;
    for (const other of this.#parts.stores.values()) {
      const promised = other.storeId === host.storeId ? 0 : this.outstanding(other.storeId);
      if (promised > 0 && (await other.store.usage()).filesystem === filesystem) bytes += promised;
    }
    return bytes;
  }

  /** Throws `store-full` when `bytes` more for this Upload would take what is promised to others. */
  async mustHaveRoomFor(upload: HostUpload, bytes: number): Promise<void> {
    const host = this.#storeOf(upload.record.storeId);
    await this.#mustHaveRoom(host, bytes, upload.outstanding);
  }

  /** Bytes that its Store could hold when empty. */
  async capacityFor(upload: HostUpload): Promise<number> {
    return (await this.#storeOf(upload.record.storeId).store.usage()).capacity;
  }

  get(uploadId: string): HostUpload {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined) throw new HawserError('not-found', 'This host knows no such upload.');
    return upload;
  }

  /** As `get`, and throws `fenced` when the caller's generation is behind. */
  fenced(uploadId: string, generation: number): HostUpload {
    const upload = this.get(uploadId);
    if (generation < upload.record.generation) throw stale(generation, upload.record.generation);
    return upload;
  }

  async open(request: OpenUpload): Promise<HostUpload> {
    const known = this.#uploads.get(request.uploadId);
    if (known !== undefined) return this.fenced(request.uploadId, request.generation);
    const opening =
      this.#opening.get(request.uploadId) ??
      this.#openNew(request).finally(() => this.#opening.delete(request.uploadId));
    this.#opening.set(request.uploadId, opening);
    return opening;
  }

  /** Bytes and journal go. Repeatable. */
  async discard(uploadId: string, generation: number): Promise<void> {
    await this.#opening.get(uploadId)?.catch(() => {}); // one that cannot be opened leaves nothing
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined) return this.#forgetBroken(uploadId);
    if (generation < upload.record.generation) throw stale(generation, upload.record.generation);
    this.#uploads.delete(uploadId);
    await upload.discardAll(new HawserError('cancelled', 'The upload was cancelled; nothing of it is kept.'));
    await this.#parts.state.removeLeaves(upload.record.storeId, upload.record.key);
    await this.#parts.state.remove(uploadId);
    this.#parts.log.info({ event: 'upload.discarded', uploadId });
  }

  /** The journal goes, the sealed object stays. Repeatable. */
  async forget(uploadId: string): Promise<void> {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined) return;
    if (upload.record.state !== 'sealed')
      throw new HawserError('conflict', 'The upload is not sealed; it cannot be forgotten yet.');
    this.#uploads.delete(uploadId);
    await upload.close(new HawserError('conflict', 'The upload is finished.'));
    await this.#parts.state.remove(uploadId);
  }

  /** Takes no byte any more, with `reason`. What was received stays. */
  async close(reason: HawserError = stopping()): Promise<void> {
    await Promise.all([...this.#uploads.values()].map((upload) => upload.close(reason)));
  }

  async #openNew(request: OpenUpload): Promise<HostUpload> {
    const host = this.#storeOf(request.storeId);
    await this.#mustHaveRoom(host, request.reserve);
    const record: UploadRecord = {
      uploadId: request.uploadId,
      generation: request.generation,
      storeId: request.storeId,
      key: request.key,
      declaredSize: request.declaredSize,
      maxSize: request.maxSize ?? null,
      reserve: request.reserve,
      format: request.format,
      digests: request.digests,
      limits: { task: request.rateLimit.task, user: request.rateLimit.user, userId: request.rateLimit.userId },
      state: 'open',
      validator: null,
      sealed: null,
    };
    await this.#parts.state.save(record);
    const writer = await this.#create(host.store, record);
    const upload = await this.#takeUp(record, host.store, writer);
    this.#parts.log.info({ event: 'upload.opened', uploadId: record.uploadId, size: record.declaredSize });
    return upload;
  }

  /** When it fails nothing of the Upload stays. */
  async #create(store: Store, { key, declaredSize, uploadId }: UploadRecord): Promise<BlockWriter> {
    try {
      return await store.create({ key, ...(declaredSize === null ? {} : { size: declaredSize }) });
    } catch (error) {
      await this.#parts.state.remove(uploadId);
      throw error;
    }
  }

  #break(about: ReportedAbout, { code, message }: HawserError): void {
    this.#broken.push(brokenReport(about, { code, message }));
    this.#parts.log.warn({ event: 'upload.not-recovered', uploadId: about.uploadId, code, reason: message });
  }

  /** It is told no more; what there is of it stays for a person to look at. */
  #forgetBroken(uploadId: string): void {
    const place = this.#broken.findIndex((report) => report.uploadId === uploadId);
    if (place >= 0) this.#broken.splice(place, 1);
  }

  async #recoverOne(record: UploadRecord, store: Store): Promise<void> {
    const stat = await store.stat(record.key);
    const gone = record.state === 'sealed' && stat.kind !== 'sealed';
    let found = record;
    if (stat.kind === 'sealed' && record.sealed !== null) {
      found = { ...record, state: 'sealed', sealed: await sealedFacts(store, record.key, record.sealed) };
    } else if (record.state === 'finishing') {
      found = { ...record, state: 'open', sealed: null };
    }
    if (found !== record) await this.#parts.state.save(found);
    // Killed between its record and its object: an empty object is what it had. The journal is told first.
    if (stat.kind === 'absent') await this.#forgetReceived(record.uploadId);
    const writer =
      stat.kind === 'sealed' || gone
        ? sealedWriter(record.key)
        : stat.kind === 'writing'
          ? await store.reopen(record.key)
          : await store.create({ key: record.key });
    const upload = await this.#takeUp(found, store, writer, gone ? vanished() : undefined);
    this.#parts.log.info({
      event: 'upload.recovered',
      uploadId: record.uploadId,
      bytes: upload.report().receivedBytes,
    });
  }

  /** Nothing of an object that is not there was received, whoever removed it. */
  async #forgetReceived(uploadId: string): Promise<void> {
    await using journal = await this.#parts.state.journal(uploadId);
    const { all } = await Received.replay(journal);
    await journal.append([...all].map(({ offset, length }) => ({ kind: 'discard', offset, length })));
  }

  async #takeUp(
    record: UploadRecord,
    store: Store,
    ...[writer, gone]: [BlockWriter, HawserError?]
  ): Promise<HostUpload> {
    const { state, means, now, changed } = this.#parts;
    const journal = new WatchedJournal(await state.journal(record.uploadId));
    const incoming = await Incoming.open({ writer, journal, means, boot: state.boot }).catch(async (error: unknown) => {
      await journal[Symbol.asyncDispose]();
      await writer[Symbol.asyncDispose]();
      throw error;
    });
    const fresh = incoming.received.all.bytes === 0;
    const digests = new PassingDigests(means.hashes, fresh ? record.digests.filter(isFlat) : []);
    const upload = new HostUpload({
      record,
      incoming,
      journal,
      store,
      state,
      means,
      digests,
      limit: this.#limitFor(record),
      vanished: gone,
      now,
      changed: () => changed(record.uploadId),
    });
    this.#uploads.set(record.uploadId, upload);
    changed(record.uploadId);
    return upload;
  }

  #limitFor({ limits }: UploadRecord): RateLimit | undefined {
    const all: RateLimit[] = [];
    if (this.#parts.totalLimit !== undefined) all.push(this.#parts.totalLimit);
    if (limits.task !== null) all.push(new TokenBucket(limits.task, this.#parts.monotonic));
    if (limits.user !== null) {
      let shared = this.#userLimits.get(limits.userId);
      if (shared?.rate !== limits.user) {
        shared = { rate: limits.user, limit: new TokenBucket(limits.user, this.#parts.monotonic) };
        this.#userLimits.set(limits.userId, shared);
      }
      all.push(shared.limit);
    }
    return allOf(all);
  }

  #storeOf(storeId: string): HostStore {
    const host = this.#parts.stores.get(storeId);
    if (host === undefined) throw new HawserError('not-found', 'This host has no such store.');
    return host;
  }

  async #mustHaveRoom(host: HostStore, reserve: number, own = 0): Promise<void> {
    const { free, filesystem } = await host.store.usage();
    const promised = (await this.#promisedBeside(host, filesystem)) - own;
    const room = Math.max(0, free - promised);
    if (free - promised >= reserve) return;
    throw new HawserError(
      'store-full',
      `No room in ${storeTitle({ name: host.name, hostName: this.#parts.hostName })}: wanted ${sizeTextBeside(reserve, room)}, free ${sizeTextBeside(room, reserve)} beside what other uploads were promised. Free some space or choose another store.`,
      { details: { free, promised, wanted: reserve } },
    );
  }
}

type ReportedAbout = Pick<UploadReport, 'uploadId' | 'generation' | 'state' | 'declaredSize'>;

/** The host cannot get at its bytes now; the next start tries again. */
function brokenReport(
  record: ReportedAbout,
  problem: { readonly code: string; readonly message: string },
): UploadReport {
  const { uploadId, generation, state, declaredSize } = record;
  const none = { receivedBytes: 0, zeroBytes: 0, activeAt: null, connections: 0, pull: null, sealed: null };
  return { uploadId, generation, state, declaredSize, ...none, problem };
}

function vanished(): HawserError {
  return new HawserError(
    'store-failed',
    'What was received was sealed, but the store has it no more: it was removed behind our back. Bring it back and restart the agent, or cancel and upload it again.',
  );
}

function isFlat(name: string): name is FlatAlgorithm {
  return name === 'sha256' || name === 'sha512' || name === 'md5';
}

function stopping(): HawserError {
  return new HawserError('unavailable', 'Hawser is stopping. What was received is kept; send on when it is back.');
}

function stale(generation: number, newer: number): HawserError {
  return new HawserError('fenced', `Generation ${generation} of this upload was taken over by ${newer}.`);
}

/** What stands for the writer once the object is sealed: there is nothing left to write. */
function sealedWriter(key: string): BlockWriter {
  const refuse = () => Promise.reject(new HawserError('conflict', 'The object is sealed; its bytes never change.'));
  const nothing = () => Promise.resolve();
  return {
    key,
    placement: { order: 'any', grain: 1 },
    write: refuse,
    zero: refuse,
    read: refuse,
    resize: refuse,
    flush: nothing,
    seal: nothing,
    discard: nothing,
    [Symbol.asyncDispose]: nothing,
  };
}
