import { type Range, RangeSet, rangeEnd } from '../../src/core/range.ts';

/** What passed the proxy, for one line of a report. */
export interface Passed {
  readonly what: 'put' | 'zeros' | 'ranges' | 'finish';
  readonly ranges: readonly Range[];
  /** Bytes of the body that went on to the server. */
  bytes: number;
  /** Of the answer that came whole; undefined: none came. */
  status: number | undefined;
}

/**
 * What was acknowledged in one round, seen from between client and server: a whole 2xx answer to bytes
 * or zeros, or what the server said when it was asked for the ranges. Notes every request that sends
 * something again that had been acknowledged before it came.
 */
export class Ledger {
  readonly acknowledged = new RangeSet();
  readonly passed: Passed[] = [];
  /** One sentence for each byte range that was sent although it had been acknowledged. */
  readonly repeated: string[] = [];
  /** Bytes of bodies that went to the server. */
  bodyBytes = 0;

  /** A request for bytes or zeros came from the client. */
  begin(what: 'put' | 'zeros', ranges: readonly Range[]): Passed {
    for (const range of ranges) {
      for (const again of this.acknowledged.inside(range)) {
        this.repeated.push(`${what} of ${text(range)} sends ${text(again)} again, which had been acknowledged`);
      }
    }
    return this.note(what, ranges);
  }

  note(what: Passed['what'], ranges: readonly Range[] = []): Passed {
    const entry: Passed = { what, ranges, bytes: 0, status: undefined };
    this.passed.push(entry);
    return entry;
  }

  moved(entry: Passed, bytes: number): void {
    entry.bytes += bytes;
    this.bodyBytes += bytes;
  }

  answered(entry: Passed, status: number): void {
    entry.status = status;
    if (status >= 200 && status < 300) for (const range of entry.ranges) this.acknowledged.add(range);
  }

  /** The answer of `GET …/ranges`: told, so known. */
  told(ranges: readonly Range[]): void {
    this.answered(this.note('ranges', ranges), 200);
  }

  /** What is acknowledged by now, as it stays. */
  now(): Ledger {
    const copy = new Ledger();
    for (const range of this.acknowledged) copy.acknowledged.add(range);
    return copy;
  }

  /** What was acknowledged and is not among `ranges`. */
  lost(ranges: readonly Range[]): readonly Range[] {
    const there = RangeSet.of(ranges);
    return [...this.acknowledged].flatMap((range) => [...there.missing(range)]);
  }
}

export function text(range: Range): string {
  return `[${range.offset}, ${rangeEnd(range)})`;
}
