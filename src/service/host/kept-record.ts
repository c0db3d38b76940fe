import type { StateFolder, UploadRecord } from './ports.ts';

export type RecordChange = Partial<Pick<UploadRecord, 'state' | 'sealed' | 'declaredSize' | 'reserve' | 'validator'>>;

/** The record of one Upload as it is on disk. Changes are saved one after the other: two at once would spoil the file. */
export class KeptRecord {
  readonly #folder: StateFolder;
  #now: UploadRecord;
  #saving: Promise<unknown> = Promise.resolve();

  constructor(folder: StateFolder, record: UploadRecord) {
    this.#folder = folder;
    this.#now = record;
  }

  get now(): UploadRecord {
    return this.#now;
  }

  /** `change` sees the record when its turn comes; undefined: nothing is to be changed any more. True when it was. */
  save(change: (now: UploadRecord) => RecordChange | undefined): Promise<boolean> {
    const saving = this.#saving.then(async () => {
      const changed = change(this.#now);
      if (changed === undefined) return false;
      const next = { ...this.#now, ...changed };
      await this.#folder.save(next);
      this.#now = next;
      return true;
    });
    this.#saving = saving.catch(() => {}); // who asked for it is told
    return saving;
  }

  /** Until the next start, when the disk cannot be told. */
  assume(change: RecordChange): void {
    this.#now = { ...this.#now, ...change };
  }

  /** What was asked for is on disk, or has failed. */
  async settled(): Promise<void> {
    await this.#saving;
  }
}
