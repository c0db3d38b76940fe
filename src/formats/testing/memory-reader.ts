import type { FormatReader } from '../look.ts';

/** A reader over bytes that counts and refuses what `FormatReader` forbids to ask. */
export class MemoryReader implements FormatReader {
  readonly size: number;
  reads = 0;
  bytesRead = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = bytes.length;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    if (!Number.isSafeInteger(offset) || offset < 0 || length <= 0 || offset + length > this.size) {
      return Promise.reject(new RangeError(`read outside the file: ${length} bytes at ${offset} of ${this.size}`));
    }
    this.reads++;
    this.bytesRead += length;
    return Promise.resolve(this.#bytes.subarray(offset, offset + length));
  }
}
