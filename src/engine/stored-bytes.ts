import { TREE_BLOCK } from '../core/digest.ts';
import { cutAt, type Range, rangeEnd } from '../core/range.ts';
import type { BlockWriter } from '../stores/store.ts';
import { conflict } from './claims.ts';
import type { HashPool } from './hash-pool.ts';
import type { Received } from './received.ts';
import type { Slab, SlabPool } from './slab-pool.ts';
import type { JournalRecord } from './upload-journal.ts';
import { isZero } from './zeros.ts';

/**
 * What an Upload has in its Store already, read back a block at a time to be compared with what is said of it.
 * The comparisons throw `range-conflict` when other bytes lie there. No range of a call crosses a block, but
 * that of `compareZeros`.
 */
export class StoredBytes {
  readonly #writer: BlockWriter;
  readonly #received: Received;
  readonly #slabs: SlabPool;
  readonly #hashes: HashPool;

  constructor(parts: {
    writer: BlockWriter;
    received: Received;
    means: { readonly slabs: SlabPool; readonly hashes: HashPool };
  }) {
    this.#writer = parts.writer;
    this.#received = parts.received;
    this.#slabs = parts.means.slabs;
    this.#hashes = parts.means.hashes;
  }

  /** `shift`: where in the slab content offset 0 would lie. */
  async compareWith(slab: Slab, shift: number, piece: Range): Promise<void> {
    const bytes = slab.bytes.subarray(piece.offset + shift, rangeEnd(piece) + shift);
    await this.look(piece, (stored) => {
      if (!stored.equals(bytes)) throw conflict(piece);
    });
  }

  /** What was received as zeros is not read. */
  async compareZeros(piece: Range): Promise<void> {
    for (const data of [...this.#received.zeros.missing(piece)]) {
      for (const cut of cutAt(data, TREE_BLOCK)) {
        await this.look(cut, (stored) => {
          if (!isZero(stored)) throw conflict(cut);
        });
      }
    }
  }

  async compareRecord(record: JournalRecord & Range): Promise<void> {
    await this.look(record, async (stored, slab) => {
      const same =
        'digest' in record ? (await this.#hashes.leaf(slab, 0, stored.length)).equals(record.digest) : isZero(stored);
      if (!same) throw conflict(record);
    });
  }

  /** The bytes, at the start of a slab that is given back once `look` has come to its end. */
  async look(piece: Range, look: (stored: Buffer, slab: Slab) => void | Promise<void>): Promise<void> {
    const slab = await this.#slabs.acquire();
    try {
      const stored = slab.bytes.subarray(0, piece.length);
      await this.#writer.read(stored, piece.offset);
      await look(stored, slab);
    } finally {
      this.#slabs.release(slab);
    }
  }
}
