/**
 * Where a client's chunks lie, told by their sizes alone: nobody ever sends an offset. A chunk begins where
 * the sizes of all before it end. As long as the sizes fit a cut into equal pieces (the last one may be
 * shorter) a chunk's place is known before those of its predecessors are; that place is provisional, and
 * `doubts` grows whenever places that were told may be wrong.
 */
export class ChunkLayout {
  readonly #sizes = new Map<number, number>();
  /** `#begins[i]` is where chunk i begins, for all whose predecessors are known. */
  #begins: number[] = [0];
  /** How many chunks have a size. */
  readonly #counts = new Map<number, number>();
  #last = -1;
  #total: number | null = null;
  #step: number | undefined;
  #doubts = 0;

  /** Grows when an offset that was told before may not hold any more. */
  get doubts(): number {
    return this.#doubts;
  }

  /** The size of the whole, once it is known. */
  setTotal(total: number | null): void {
    this.#total = total;
    this.#stepAgain();
  }

  /** All chunks before this one have a place that is not provisional. */
  get reach(): number {
    return this.#begins.length;
  }

  /** Whether the place of this chunk, if it has one, is not provisional. */
  isCertain(index: number): boolean {
    return index < this.#begins.length;
  }

  /** Whether that is so of all chunks. */
  get allCertain(): boolean {
    return this.isCertain(this.#last);
  }

  set(index: number, size: number): void {
    const before = this.#sizes.get(index);
    if (before === size) return;
    if (before !== undefined) this.#uncount(before);
    this.#sizes.set(index, size);
    this.#counts.set(size, (this.#counts.get(size) ?? 0) + 1);
    this.#last = Math.max(this.#last, index);
    if (before !== undefined) this.#begins = this.#begins.slice(0, index + 1);
    if (before !== undefined) this.#doubts++;
    this.#extend();
    this.#stepAgain();
  }

  /** Where chunk `index` begins; undefined while nobody can say. Only of one whose size is known. */
  offsetOf(index: number): number | undefined {
    const size = this.#sizes.get(index);
    if (size === undefined) return undefined;
    const exact = this.#begins[index];
    if (exact !== undefined) return exact;
    return this.#step === undefined ? undefined : index * this.#step;
  }

  /** Where chunk `count` would begin: the size of the first `count`; undefined unless all of theirs are known. */
  endOf(count: number): number | undefined {
    return this.#begins[count];
  }

  #extend(): void {
    for (let next = this.#begins.length - 1; ; next++) {
      const begin = this.#begins[next];
      const size = this.#sizes.get(next);
      if (begin === undefined || size === undefined) return;
      this.#begins[next + 1] = begin + size;
    }
  }

  #uncount(size: number): void {
    const left = (this.#counts.get(size) ?? 1) - 1;
    if (left === 0) this.#counts.delete(size);
    else this.#counts.set(size, left);
  }

  #stepAgain(): void {
    const step = this.#equalStep();
    if (step !== this.#step && this.#step !== undefined) this.#doubts++;
    this.#step = step;
  }

  /** The size of every chunk but the last, if what is known fits that. */
  #equalStep(): number | undefined {
    if (this.#counts.size > 2) return undefined;
    const [first, second] = [...this.#counts.keys()].sort((a, b) => b - a);
    if (first === undefined) return undefined;
    if (second === undefined) return this.#counts.get(first) !== 1 || this.#sizes.has(0) ? first : undefined;
    // Two sizes: the smaller one must be the last chunk's, and end where everything does.
    if (this.#counts.get(second) !== 1 || this.#sizes.get(this.#last) !== second) return undefined;
    const end = this.#last * first + second;
    if (this.#total !== null && end !== this.#total) return undefined;
    const sure = this.#total !== null || this.#counts.get(first) !== 1 || this.#sizes.get(0) === first;
    return sure ? first : undefined;
  }
}
