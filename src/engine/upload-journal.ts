/**
 * What the engine wants of the journal of one Upload: a port, implemented by `host/`. Records are
 * appended after their data was written; what `append` has resolved survives kill -9.
 */
export interface UploadJournal {
  append(records: readonly JournalRecord[]): Promise<void>;
  /** Everything appended so far survives a power cut once this resolves. */
  sync(): Promise<void>;
  /** All records from the beginning, in order. Not while appending is under way elsewhere is no condition: it reads what was there at the call. */
  records(): AsyncIterable<JournalRecord>;
}

export type JournalRecord =
  /** Bytes of one block (or a part of one) and their SHA-256. */
  | { readonly kind: 'data'; readonly offset: number; readonly length: number; readonly digest: Buffer }
  /** A range of zeros, any length. */
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  /** The leaf of a block that came in pieces. */
  | { readonly kind: 'leaf'; readonly offset: number; readonly length: number; readonly digest: Buffer }
  /** The range counts as never received. */
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  /** Everything before survives a power cut; `digest` is the SHA-256 of the boot id. */
  | { readonly kind: 'sync'; readonly digest: Buffer }
  /** A flush failed: what came since the last `sync` may be gone, whatever a read says. */
  | { readonly kind: 'doubt' };
