import { intersect, type Range } from '../../core/range.ts';
import type { ChunkTable, KnownChunk } from './chunk-table.ts';
import type { HostUpload } from './host-upload.ts';

/** A chunk that lies in the Upload, from there on, only by a guess. */
export interface Guessed {
  readonly chunk: KnownChunk;
  readonly from: number;
}

/**
 * Where chunks go at once although not all sizes before them are known. A guess gives way to whoever says where
 * bytes belong, and it never counts for the whole: who finishes has it taken out before.
 */
export class ChunkGuesses {
  readonly #upload: Pick<HostUpload, 'record' | 'received'>;
  readonly #table: ChunkTable;
  /** Bodies on their way, and to which place in the Upload. */
  readonly #flying = new Set<{ readonly index: number; readonly offset: number | undefined }>();
  /** Other bytes lay where these seemed to belong: they wait until their place is certain. */
  readonly #unwelcome = new Set<number>();
  /** Where those who do not send in chunks are sending now. */
  readonly #others = new Set<Range>();

  constructor(upload: Pick<HostUpload, 'record' | 'received'>, table: ChunkTable) {
    this.#upload = upload;
    this.#table = table;
  }

  /** Where its bytes go at once; undefined: nobody can say for sure enough. */
  placeFor(chunk: KnownChunk): number | undefined {
    const offset = this.#table.layout.offsetOf(chunk.index);
    const { declaredSize } = this.#upload.record;
    if (offset === undefined || this.#unwelcome.has(chunk.index) || this.astray) return undefined;
    if (declaredSize !== null && offset + chunk.size > declaredSize) return undefined;
    return this.#isWorthIt(chunk, offset) ? offset : undefined;
  }

  /** Until what it answers is called this body is on its way, also while it is being recorded. */
  fly(index: number, offset: number | undefined): () => void {
    const flight = { index, offset };
    this.#flying.add(flight);
    return () => void this.#flying.delete(flight);
  }

  /** Until what it answers is called nothing is put into these ranges by a guess. */
  keepOff(ranges: readonly Range[]): () => void {
    for (const range of ranges) this.#others.add(range);
    return () => {
      for (const range of ranges) this.#others.delete(range);
    };
  }

  /** It is not tried again where other bytes lay. */
  refused(index: number): void {
    this.#unwelcome.add(index);
  }

  /** Those that lie in these ranges. */
  lyingIn(ranges: readonly Range[]): readonly Guessed[] {
    const { layout } = this.#table;
    if (layout.allCertain) return [];
    return [...this.#table.all()].flatMap((chunk) => {
      if (chunk.place?.kind !== 'placed' || chunk.place.how === 'found' || layout.isCertain(chunk.index)) return [];
      const { offset } = chunk.place;
      const lies = ranges.some((range) => intersect(range, { offset, length: chunk.size }) !== undefined);
      return lies ? [{ chunk, from: offset }] : [];
    });
  }

  /** Whether one of them is on its way into the Upload. */
  get flying(): boolean {
    return [...this.#flying].some(({ index, offset }) => offset !== undefined && !this.#table.layout.isCertain(index));
  }

  /** A guess is not worth a conflict with what lies there, or is being sent there. */
  #isWorthIt({ index, size }: KnownChunk, offset: number): boolean {
    if (this.#table.layout.isCertain(index)) return true;
    const range = { offset, length: size };
    const touches = this.#upload.received.inside(range).next().done !== true;
    return !touches && ![...this.#others].some((other) => intersect(other, range) !== undefined);
  }

  /** A body is being landed where it will turn out not to belong. */
  get astray(): boolean {
    const { layout } = this.#table;
    return [...this.#flying].some(({ index, offset }) => offset !== undefined && layout.offsetOf(index) !== offset);
  }
}
