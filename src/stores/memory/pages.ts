import type { Range } from '../../core/range.ts';
import type { Extent } from '../store.ts';

export const PAGE = 64 * 1024;

/** Bytes that all objects of a Store share. */
export interface Budget {
  /** Throws `store-full`, then nothing was taken. */
  take(bytes: number): void;
  give(bytes: number): void;
}

/** A sparse run of bytes: pages that were never written, or were zeroed whole, take no space. */
export class Pages {
  readonly #budget: Budget;
  readonly #pages = new Map<number, Uint8Array>();
  size = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  get storedSize(): number {
    return this.#pages.size * PAGE;
  }

  /** The pages that are there. */
  *entries(): Generator<{ readonly index: number; readonly page: Uint8Array }> {
    for (const [index, page] of this.#pages) yield { index, page };
  }

  write(buffer: Uint8Array, offset: number): void {
    this.allocate({ offset, length: buffer.length });
    for (const part of parts({ offset, length: buffer.length })) {
      const from = part.index * PAGE + part.start - offset;
      this.#pages.get(part.index)?.set(buffer.subarray(from, from + part.length), part.start);
    }
    this.size = Math.max(this.size, offset + buffer.length);
  }

  /** Gives every page of the range its space. */
  allocate(range: Range): void {
    const missing = [...parts(range)].filter((part) => !this.#pages.has(part.index));
    this.#budget.take(missing.length * PAGE);
    for (const { index } of missing) this.#pages.set(index, new Uint8Array(PAGE));
  }

  read(into: Uint8Array, offset: number): void {
    for (const part of parts({ offset, length: into.length })) {
      const to = part.index * PAGE + part.start - offset;
      const page = this.#pages.get(part.index);
      if (page === undefined) into.fill(0, to, to + part.length);
      else into.set(page.subarray(part.start, part.start + part.length), to);
    }
  }

  /** Visits the pages that are there, not the range: a zero of 1 TiB is as cheap as what it clears. */
  zero({ offset, length }: Range): void {
    const end = offset + length;
    for (const [index, page] of this.#pages) {
      const start = Math.max(offset - index * PAGE, 0);
      const stop = Math.min(end - index * PAGE, PAGE);
      if (start >= stop) continue;
      if (stop - start === PAGE) this.#drop(index);
      else page.fill(0, start, stop);
    }
    this.size = Math.max(this.size, end);
  }

  resize(size: number): void {
    if (size < this.size) this.zero({ offset: size, length: Math.ceil(this.size / PAGE) * PAGE - size });
    this.size = size;
  }

  *extents(range: Range): Generator<Extent> {
    const end = range.offset + range.length;
    let open: Extent | undefined;
    for (const part of parts(range)) {
      const kind = this.#pages.has(part.index) ? 'data' : 'hole';
      if (open?.kind === kind) {
        open = { ...open, length: open.length + part.length };
      } else {
        if (open !== undefined) yield open;
        open = { offset: part.index * PAGE + part.start, length: part.length, kind };
      }
    }
    if (open !== undefined && range.offset < end) yield open;
  }

  clear(): void {
    for (const index of this.#pages.keys()) this.#drop(index);
  }

  #drop(index: number): void {
    this.#pages.delete(index);
    this.#budget.give(PAGE);
  }
}

interface PagePart {
  readonly index: number;
  /** Within the page. */
  readonly start: number;
  readonly length: number;
}

function* parts({ offset, length }: Range): Generator<PagePart> {
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const index = Math.floor(at / PAGE);
    const next = Math.min(end, (index + 1) * PAGE);
    yield { index, start: at - index * PAGE, length: next - at };
    at = next;
  }
}
