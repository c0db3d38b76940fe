import { HawserError } from '../core/errors.ts';
import { intersect, type Range, rangeEnd } from '../core/range.ts';

/** A stretch that is being written (others wait for it) or is held back until its Content-Digest is known (others may take it). */
export interface Claim extends Range {
  offset: number;
  length: number;
  phase: 'writing' | 'held';
  taken: boolean;
  /** Asks who writes there to give up the rest soon, because another wants it. */
  readonly recall: (() => void) | undefined;
  readonly settled: Promise<void>;
  readonly settle: () => void;
}

/** Other bytes lie there. */
export function conflict(piece: Range): HawserError {
  return new HawserError(
    'range-conflict',
    `Other bytes were received between ${piece.offset} and ${rangeEnd(piece)} before. The earlier ones are kept. If the source has changed, cancel this upload and begin a new one.`,
    { details: { offset: piece.offset, length: piece.length } },
  );
}

/** Another body for the same range came while this one waited for its digest, and has not ended yet. */
export function overtaken(piece: Range): HawserError {
  return new HawserError(
    'unavailable',
    `Another body is being received between ${piece.offset} and ${rangeEnd(piece)}. Send this one again when that has ended.`,
    { details: { offset: piece.offset, length: piece.length } },
  );
}

/**
 * Who writes where, so that two who send the same range never both write it. Nothing here awaits between
 * a look and a claim; that is what makes it sound.
 */
export class Claims {
  readonly #claims = new Set<Claim>();

  /** Runs `act` at a moment when nobody writes into the range; nothing comes between the look and the act. */
  async whenFree<T>(range: Range, act: () => T): Promise<T> {
    for (;;) {
      const busy = this.#overlapping(range).find((claim) => claim.phase === 'writing');
      if (busy === undefined) return act();
      busy.recall?.();
      await busy.settled;
    }
  }

  /** What is held back there belongs to the caller now; its first owner finds it taken. */
  takeHeld(range: Range): void {
    for (const held of this.#overlapping(range)) {
      held.taken = true;
      this.#claims.delete(held);
    }
  }

  isFree(range: Range): boolean {
    return this.#overlapping(range).length === 0;
  }

  claim(range: Range, recall?: () => void): Claim {
    const { promise: settled, resolve: settle } = Promise.withResolvers<void>();
    const claim: Claim = {
      offset: range.offset,
      length: range.length,
      phase: 'writing',
      taken: false,
      recall,
      settled,
      settle,
    };
    this.#claims.add(claim);
    return claim;
  }

  /** Written, but waiting for a digest: others need not wait any more. */
  hold(claim: Claim): void {
    claim.phase = 'held';
    claim.settle();
  }

  release(claims: readonly Claim[]): void {
    for (const claim of claims) {
      this.#claims.delete(claim);
      claim.settle();
    }
  }

  async allSettled(): Promise<void> {
    await Promise.all([...this.#claims].map((claim) => claim.settled));
  }

  #overlapping(range: Range): readonly Claim[] {
    return [...this.#claims].filter((claim) => intersect(claim, range) !== undefined);
  }
}
