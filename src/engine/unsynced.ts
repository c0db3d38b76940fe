import type { Range } from '../core/range.ts';
import { without } from './received.ts';
import type { JournalRecord, UploadJournal } from './upload-journal.ts';

/** What a journal says of a power cut. */
export interface Unsynced {
  /** Records since the last sync. `discard`: what one has left of a data record, whose digest says nothing of it alone. */
  readonly doubtful: readonly (JournalRecord & Range)[];
  /** A sync has failed since then: what can be read proves nothing. */
  readonly doubt: boolean;
  /** The last sync was made in this boot of the machine, so its page cache still has what came behind it. */
  readonly sameBoot: boolean;
}

/** `boot` is the digest of the boot id. */
export async function unsyncedOf(journal: UploadJournal, boot: Buffer): Promise<Unsynced> {
  let doubtful: (JournalRecord & Range)[] = [];
  let sameBoot = false;
  let doubt = false;
  for await (const record of journal.records()) {
    if (record.kind === 'sync') {
      sameBoot = record.digest.equals(boot);
      doubtful = [];
      doubt = false;
    } else if (record.kind === 'doubt') doubt = true;
    else if (record.kind === 'data' || record.kind === 'zero') doubtful.push(record);
    else if (record.kind === 'discard') doubtful = doubtful.flatMap((known) => without(known, record));
  }
  return { doubtful, doubt, sameBoot };
}
