import type { Range } from '../../core/range.ts';
import { type Allocation, punchHole, zeroRange } from '../../native/allocate.ts';
import { writeAll } from './descriptor.ts';

/** A way to make a range of a file read as zeros without sending them. */
export type ZeroRung = (fd: number, offset: number, length: number) => Promise<Allocation>;

export const zeroRungs: readonly ZeroRung[] = [punchHole, zeroRange];

/** Bytes of one step; an abort is heard between two. Larger ones hold some devices for minutes. */
const STEP = 128 * 1024 * 1024;
const WRITE = 1024 * 1024;

/**
 * Zeroes by the best rung that the filesystem does not refuse, and remembers refusals: punch a hole,
 * zero the range, at last write zeros. One per Store, as it is the filesystem that refuses.
 */
export class ZeroLadder {
  readonly #rungs: readonly ZeroRung[];
  #rung = 0;
  #zeros: Uint8Array | undefined;

  constructor(rungs: readonly ZeroRung[]) {
    this.#rungs = rungs;
  }

  /** Throws the signal's reason between two steps. The file must reach to the end of the range. */
  async zero(fd: number, { offset, length }: Range, signal?: AbortSignal): Promise<void> {
    for (let done = 0; done < length; ) {
      signal?.throwIfAborted();
      const at = offset + done;
      const rung = this.#rungs[this.#rung];
      if (rung === undefined) {
        this.#zeros ??= new Uint8Array(WRITE);
        const part = this.#zeros.subarray(0, Math.min(length - done, WRITE));
        await writeAll(fd, part, at);
        done += part.length;
        continue;
      }
      const step = Math.min(length - done, STEP - (at % STEP));
      if ((await rung(fd, at, step)) === 'done') done += step;
      else this.#refused(rung);
    }
  }

  /** Only the rung that refused: another call may have gone on already. */
  #refused(rung: ZeroRung): void {
    if (this.#rungs[this.#rung] === rung) this.#rung++;
  }
}
