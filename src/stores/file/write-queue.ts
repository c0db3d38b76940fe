import { writev } from 'node:fs';
import { writeAll } from './descriptor.ts';

/** Buffers of one system call. */
const MOST_BUFFERS = 8;

interface Waiting {
  readonly buffer: Uint8Array;
  readonly offset: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One write of a file at a time; what waits meanwhile and is contiguous goes out together. ext4 and xfs
 * hold the inode's lock through a buffered write, so writes side by side only spin on it (perf shows
 * rwsem_spin_on_owner).
 */
export class WriteQueue {
  readonly #fd: number;
  #waiting: Waiting[] = [];
  #busy = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Resolves once all of `buffer` is written; rejects with the system's error. */
  write(buffer: Uint8Array, offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ buffer, offset, resolve, reject });
      if (this.#busy) return;
      this.#busy = true;
      // Not at once: what is written in the same go goes out together.
      queueMicrotask(() => void this.#drain());
    });
  }

  async #drain(): Promise<void> {
    for (let batch = this.#next(); batch.length > 0; batch = this.#next()) {
      try {
        await this.#writeBatch(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#busy = false;
  }

  /** The first that waits, and those behind it that follow on in the file. */
  #next(): readonly Waiting[] {
    let count = 1;
    while (
      count < Math.min(MOST_BUFFERS, this.#waiting.length) &&
      follows(this.#waiting[count - 1], this.#waiting[count])
    )
      count++;
    return this.#waiting.splice(0, count);
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    if (batch.length === 1) return writeAll(this.#fd, first.buffer, first.offset);
    const written = await writeTogether(this.#fd, batch, first.offset);
    // A short write (a signal, a disk that fills up): the rest one by one, which also gives the error to hear of.
    for (const { buffer, offset } of batch) {
      const done = Math.max(0, Math.min(buffer.length, first.offset + written - offset));
      if (done < buffer.length) await writeAll(this.#fd, buffer.subarray(done), offset + done);
    }
  }
}

function follows(before: Waiting | undefined, after: Waiting | undefined): boolean {
  return before !== undefined && after !== undefined && before.offset + before.buffer.length === after.offset;
}

function writeTogether(fd: number, batch: readonly Waiting[], offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const buffers = batch.map(({ buffer }) => buffer);
    writev(fd, buffers, offset, (error, written) => (error === null ? resolve(written) : reject(error)));
  });
}
