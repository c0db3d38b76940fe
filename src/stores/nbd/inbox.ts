/** Behind this many bytes that are still wanted the socket reads straight into where they go. */
const DIRECT = 64 * 1024;
const SCRATCH = 64 * 1024;
/** What may lie here that nobody asked for yet. */
const MOST_HELD = 128 * 1024;

/**
 * Bytes from a peer, cut as the one who reads them asks: always one want at a time, and `then` of it may ask
 * for the next. Small ones are read together into a buffer of its own, the body of large ones straight into
 * the buffer that was given.
 */
export class Inbox {
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH);
  #held = Buffer.alloc(0);
  #target: Uint8Array | undefined;
  #wanted = 0;
  #filled = 0;
  #then: (() => void) | undefined;
  #pumping = false;
  #closed = false;

  /** Fills `target`, then calls `then`, perhaps at once. */
  fill(target: Uint8Array, then: () => void): void {
    this.#want(target, target.length, then);
  }

  /** Drops `length` bytes. */
  skip(length: number, then: () => void): void {
    this.#want(undefined, length, then);
  }

  /** Bytes have come that nobody asked for yet. */
  get isAhead(): boolean {
    return this.#held.length > 0;
  }

  /** `fill` for those who wait. Never resolves after `close`: whoever closes tells the waiting ones. */
  take(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    return new Promise((resolve) => this.fill(bytes, () => resolve(bytes)));
  }

  /** Where the socket reads next; give the bytes to `received`. */
  nextBuffer(): Uint8Array {
    const left = this.#wanted - this.#filled;
    if (this.#then === undefined || this.#target === undefined || left < DIRECT) return this.#scratch;
    return this.#target.subarray(this.#filled);
  }

  /** `bytes` are those that the socket read into a `nextBuffer` of before, or others (as TLS gives them). Throws when nobody wants so many. */
  received(bytes: Uint8Array): void {
    if (this.#closed) return;
    const target = this.#target;
    if (
      target !== undefined &&
      bytes.buffer === target.buffer &&
      bytes.byteOffset === target.byteOffset + this.#filled
    ) {
      this.#filled += bytes.length;
      this.#pump(NOTHING);
    } else {
      this.#pump(bytes);
    }
    if (this.#held.length > MOST_HELD) throw new Error(`${this.#held.length} bytes that were not asked for`);
  }

  /** Nothing is read into anybody's buffer any more. */
  close(): void {
    this.#closed = true;
    this.#then = undefined;
    this.#target = undefined;
    this.#held = Buffer.alloc(0);
  }

  #want(target: Uint8Array | undefined, length: number, then: () => void): void {
    this.#target = target;
    this.#wanted = length;
    this.#filled = 0;
    this.#then = then;
    this.#pump(NOTHING);
  }

  #pump(fresh: Uint8Array): void {
    if (this.#held.length > 0 || this.#pumping) {
      if (fresh.length > 0) this.#held = Buffer.concat([this.#held, fresh]);
      if (this.#pumping) return;
      fresh = this.#held;
      this.#held = Buffer.alloc(0);
    }
    this.#pumping = true;
    let at = 0;
    try {
      while (this.#then !== undefined) {
        const part = Math.min(this.#wanted - this.#filled, fresh.length - at);
        this.#target?.set(fresh.subarray(at, at + part), this.#filled);
        this.#filled += part;
        at += part;
        if (this.#filled < this.#wanted) break;
        const then = this.#then;
        this.#then = undefined;
        this.#target = undefined;
        then();
      }
    } finally {
      this.#pumping = false;
    }
    if (at < fresh.length && !this.#closed) this.#held = Buffer.from(fresh.subarray(at));
  }
}

const NOTHING = new Uint8Array(0);
