import type { MovedSegment } from '../core/mover.ts';
import type { Range } from '../core/range.ts';
import type { Claim } from './claims.ts';
import type { JournalRecord } from './upload-journal.ts';

/** A segment on disk whose record waits for the digest of the whole body. */
export interface Held {
  readonly record: JournalRecord & Range;
  readonly claim: Claim;
}

/** A range that is written from outside, by a mover, and that nobody else writes meanwhile. */
export interface Reservation {
  /** The bytes are in the object, or are zeros (then nothing was written): they count once this resolves. */
  acknowledge(segments: readonly MovedSegment[]): Promise<void>;
  /** What was not acknowledged is free for others. Repeatable. */
  release(): void;
}

/** Waits for both, also when one fails: the buffer must not be reused while the other still reads it. */
export async function settleBoth<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [left, right] = await Promise.allSettled([a, b]);
  if (left.status === 'rejected') throw left.reason;
  if (right.status === 'rejected') throw right.reason;
  return [left.value, right.value];
}

export function recordOf({ offset, length, sha256 }: MovedSegment): JournalRecord & Range {
  if (sha256 === null) return { kind: 'zero', offset, length };
  return { kind: 'data', offset, length, digest: Buffer.from(sha256, 'hex') };
}
