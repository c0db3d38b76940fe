/** A run of bytes of one kind; what no run covers is the rest: missing, or a hole. */
export interface MapRun {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'rest';
}

export interface MapCell {
  /** Shares of the cell, 0 to 1. */
  readonly data: number;
  readonly zero: number;
}

/** `size` bytes as `count` cells of equal width, each with its shares of data and zeros. Runs do not overlap. */
export function cellsOf(runs: readonly MapRun[], size: number, count: number): readonly MapCell[] {
  const cells = Array.from({ length: count }, () => ({ data: 0, zero: 0 }));
  const width = size / count;
  if (!(width > 0)) return cells;
  for (const { offset, length, kind } of runs) {
    if (kind === 'rest') continue;
    const end = Math.min(size, offset + length);
    for (let i = Math.floor(offset / width); i < count && i * width < end; i++) {
      const cell = cells[i];
      const part = Math.min(end, (i + 1) * width) - Math.max(offset, i * width);
      if (cell !== undefined && part > 0) cell[kind] += part / width;
    }
  }
  return cells;
}

/** Part of a map: its runs of data, and up to where it reaches. */
export interface MapPart {
  readonly size: number;
  readonly runs: readonly MapRun[];
  readonly dataBytes: number;
  /** Where the next part begins; null: this is the last one. */
  readonly next: number | null;
}

/** More than any screen has cells for. */
const STRETCHES = 16_384;

/**
 * A page of extents with no more runs than a picture can show: what lies in one of 16 384 stretches of the whole
 * becomes one run as long as the data in it. Sums stay exact.
 */
export function condensed(page: {
  readonly size: number;
  readonly extents: readonly { readonly offset: number; readonly length: number; readonly kind: 'data' | 'hole' }[];
  readonly next: number | null;
}): MapPart {
  const stretch = Math.max(1, Math.ceil(page.size / STRETCHES));
  const runs: { offset: number; length: number; kind: 'data' }[] = [];
  let dataBytes = 0;
  for (const { kind, length, offset } of page.extents) {
    if (kind === 'hole') continue;
    dataBytes += length;
    const last = runs.at(-1);
    const fits =
      last !== undefined && Math.floor(last.offset / stretch) === Math.floor((offset + length - 1) / stretch);
    if (fits) last.length += length;
    else runs.push({ offset, length, kind: 'data' });
  }
  return { size: page.size, runs, dataBytes, next: page.next };
}

/** `a` without what is in `b`; both in order and each without overlaps. */
export function without(
  a: readonly { readonly offset: number; readonly length: number }[],
  b: readonly { readonly offset: number; readonly length: number }[],
): readonly { readonly offset: number; readonly length: number }[] {
  const rest: { readonly offset: number; readonly length: number }[] = [];
  let next = 0;
  for (const range of a) {
    let from = range.offset;
    const end = range.offset + range.length;
    while (next < b.length && endOf(b[next]) <= from) next++;
    for (let i = next; i < b.length; i++) {
      const cut = b[i];
      if (cut === undefined || cut.offset >= end) break;
      if (cut.offset > from) rest.push({ offset: from, length: cut.offset - from });
      from = Math.max(from, endOf(cut));
    }
    if (from < end) rest.push({ offset: from, length: end - from });
  }
  return rest;
}

function endOf(range: { readonly offset: number; readonly length: number } | undefined): number {
  return range === undefined ? 0 : range.offset + range.length;
}
