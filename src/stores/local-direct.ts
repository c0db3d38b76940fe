import { alignedBuffer } from '../native/aligned-buffer.ts';
import { closeFile, readUpTo, writeAll } from './file/descriptor.ts';

/** Whole pages: so that no page is ever written past the cache and through it at once. */
export const DIRECT_BLOCK = 4096;
/** Bytes of one bounce buffer. */
const BOUNCE = 1024 * 1024;
/** Bounce buffers that are kept. */
const KEPT = 8;

/** A descriptor with O_DIRECT: offsets and lengths are multiples of `block`, memory is aligned here. */
export class DirectFile implements AsyncDisposable {
  readonly block: number;
  readonly #fd: number;
  readonly #free: Buffer[] = [];

  constructor(fd: number, block: number) {
    this.#fd = fd;
    this.block = block;
  }

  /** Bytes read: fewer only at the end of the file. */
  async read(into: Buffer, offset: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const length = Math.min(BOUNCE, into.length - done);
      const got = await this.#with(length, async (bounce) => {
        const read = await readUpTo(this.#fd, bounce, offset + done);
        bounce.copy(into, done, 0, read);
        return read;
      });
      done += got;
      if (got < length) break;
    }
    return done;
  }

  async write(from: Buffer, offset: number): Promise<void> {
    for (let done = 0; done < from.length; done += BOUNCE) {
      const part = from.subarray(done, done + BOUNCE);
      await this.#with(part.length, async (bounce) => {
        part.copy(bounce);
        await writeAll(this.#fd, bounce, offset + done);
      });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return closeFile(this.#fd);
  }

  async #with<T>(length: number, work: (bounce: Buffer) => Promise<T>): Promise<T> {
    const whole = this.#free.pop() ?? alignedBuffer(BOUNCE, this.block);
    if (whole === undefined) throw new Error('there is no aligned memory on this machine');
    try {
      return await work(whole.subarray(0, length));
    } finally {
      if (this.#free.length < KEPT) this.#free.push(whole);
    }
  }
}
