/** `length` bytes from `offset`. Bytes, whole numbers, never negative. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

export function rangeEnd(range: Range): number {
  return range.offset + range.length;
}

export function intersect(a: Range, b: Range): Range | undefined {
  const offset = Math.max(a.offset, b.offset);
  const end = Math.min(rangeEnd(a), rangeEnd(b));
  return end > offset ? { offset, length: end - offset } : undefined;
}

/** The range cut where it crosses a multiple of `step`, in order. */
export function* cutAt(range: Range, step: number): Generator<Range> {
  let offset = range.offset;
  const end = rangeEnd(range);
  while (offset < end) {
    const next = Math.min(end, (Math.floor(offset / step) + 1) * step);
    yield { offset, length: next - offset };
    offset = next;
  }
}

/**
 * A union of ranges: sorted, disjoint, adjacent ones merged. The one truth of progress: percent is a
 * view of `bytes`. Lookup is by bisection; memory grows with the number of gaps, not with size.
 */
export class RangeSet {
  #starts: number[] = [];
  #ends: number[] = [];
  #bytes = 0;

  static of(ranges: Iterable<Range>): RangeSet {
    const set = new RangeSet();
    for (const range of ranges) set.add(range);
    return set;
  }

  /** How many bytes are in the set. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many separate ranges it has. */
  get count(): number {
    return this.#starts.length;
  }

  /** Adds the range; returns how many of its bytes were new. */
  add({ offset, length }: Range): number {
    if (length <= 0) return 0;
    const end = offset + length;
    const first = this.#firstEndingAtOrAfter(offset);
    let last = first;
    let start = offset;
    let stop = end;
    let had = 0;
    while (last < this.#starts.length && at(this.#starts, last) <= end) {
      const s = at(this.#starts, last);
      const e = at(this.#ends, last);
      had += e - s;
      start = Math.min(start, s);
      stop = Math.max(stop, e);
      last++;
    }
    this.#starts.splice(first, last - first, start);
    this.#ends.splice(first, last - first, stop);
    const added = stop - start - had;
    this.#bytes += added;
    return added;
  }

  /** Takes the range out; returns how many of its bytes were in. */
  remove({ offset, length }: Range): number {
    if (length <= 0) return 0;
    const end = offset + length;
    let i = this.#firstEndingAfter(offset);
    let taken = 0;
    while (i < this.#starts.length && at(this.#starts, i) < end) {
      const s = at(this.#starts, i);
      const e = at(this.#ends, i);
      const keepLeft = s < offset;
      const keepRight = e > end;
      const starts = [...(keepLeft ? [s] : []), ...(keepRight ? [end] : [])];
      const ends = [...(keepLeft ? [offset] : []), ...(keepRight ? [e] : [])];
      taken += Math.min(e, end) - Math.max(s, offset);
      this.#starts.splice(i, 1, ...starts);
      this.#ends.splice(i, 1, ...ends);
      i += starts.length;
    }
    this.#bytes -= taken;
    return taken;
  }

  contains({ offset, length }: Range): boolean {
    if (length <= 0) return true;
    const i = this.#firstEndingAfter(offset);
    return i < this.#starts.length && at(this.#starts, i) <= offset && at(this.#ends, i) >= offset + length;
  }

  /** The parts of `within` that are in the set, in order. */
  *inside(within: Range): Generator<Range> {
    const end = rangeEnd(within);
    for (let i = this.#firstEndingAfter(within.offset); i < this.#starts.length && at(this.#starts, i) < end; i++) {
      const offset = Math.max(at(this.#starts, i), within.offset);
      yield { offset, length: Math.min(at(this.#ends, i), end) - offset };
    }
  }

  /** The parts of `within` that are not in the set, in order. */
  *missing(within: Range): Generator<Range> {
    let offset = within.offset;
    for (const part of this.inside(within)) {
      if (part.offset > offset) yield { offset, length: part.offset - offset };
      offset = rangeEnd(part);
    }
    const end = rangeEnd(within);
    if (offset < end) yield { offset, length: end - offset };
  }

  *[Symbol.iterator](): Generator<Range> {
    for (let i = 0; i < this.#starts.length; i++) {
      const offset = at(this.#starts, i);
      yield { offset, length: at(this.#ends, i) - offset };
    }
  }

  #firstEndingAtOrAfter(offset: number): number {
    return bisect(this.#ends, (end) => end >= offset);
  }

  #firstEndingAfter(offset: number): number {
    return bisect(this.#ends, (end) => end > offset);
  }
}

function bisect(values: readonly number[], isAfter: (value: number) => boolean): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAfter(at(values, middle))) high = middle;
    else low = middle + 1;
  }
  return low;
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${values.length}`);
  return value;
}
