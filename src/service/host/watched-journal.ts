import type { JournalRecord, UploadJournal } from '../../engine/upload-journal.ts';

/** Tells of every record once it counts: so the digest of a block is known while it passes, and nothing is hashed twice. */
export class WatchedJournal implements UploadJournal, AsyncDisposable {
  readonly #journal: UploadJournal & AsyncDisposable;
  /** Must not throw. */
  onRecord: (record: JournalRecord) => void = () => {};

  constructor(journal: UploadJournal & AsyncDisposable) {
    this.#journal = journal;
  }

  async append(records: readonly JournalRecord[]): Promise<void> {
    await this.#journal.append(records);
    for (const record of records) this.onRecord(record);
  }

  sync(): Promise<void> {
    return this.#journal.sync();
  }

  records(): AsyncIterable<JournalRecord> {
    return this.#journal.records();
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#journal[Symbol.asyncDispose]();
  }
}
