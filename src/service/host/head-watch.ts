import type { HawserError } from '../../core/errors.ts';
import type { DeclaredFormat } from '../../core/nouns.ts';
import type { Range, RangeSet } from '../../core/range.ts';
import { earlyVerdict } from '../../formats/inspect.ts';
import { HEAD_BYTES } from '../../formats/look.ts';
import { verdictError } from '../../formats/verdict.ts';

export interface HeadWatchParts {
  readonly format: DeclaredFormat;
  readonly received: RangeSet;
  readonly read: (offset: number, length: number) => Promise<Uint8Array>;
  readonly refuse: (refusal: HawserError) => Promise<void>;
  /** It could not be read or refused now. */
  readonly failed: (error: unknown) => void;
}

/** The early verdict: a format that will be refused is refused once its head is here, before the rest has travelled. */
export class HeadWatch {
  readonly #parts: HeadWatchParts;
  #seen = false;

  constructor(parts: HeadWatchParts) {
    this.#parts = parts;
  }

  acknowledged(range: Range, declaredSize: number | null): void {
    if (this.#seen || range.offset >= HEAD_BYTES) return;
    const length = Math.min(HEAD_BYTES, declaredSize ?? HEAD_BYTES);
    if (!this.#parts.received.contains({ offset: 0, length })) return;
    this.#seen = true;
    void this.#judge(length);
  }

  async #judge(length: number): Promise<void> {
    const { format, read, refuse, failed } = this.#parts;
    try {
      const refusal = verdictError(earlyVerdict(await read(0, length), format), format);
      if (refusal !== undefined) await refuse(refusal);
    } catch (error) {
      failed(error);
    }
  }
}
