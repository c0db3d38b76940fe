// Plain JavaScript, for workers. A slab as the mover and its hash threads share it.
import { hash } from 'node:crypto';

// States. First the mover's own.
const OWN = 0;
/** Whoever takes it first hashes it. */
const FILLED = 1;
const BEING_HASHED = 2;
const HASHED = 3;

/** Beside its bytes it has 40 of control: a state, a length, a digest. */
export class MoverSlab {
  constructor({ index, shared, control }) {
    this.index = index;
    this.bytes = Buffer.from(shared);
    this.words = new Int32Array(control, 0, 2);
    this.digest = Buffer.from(control, 8, 32);
  }

  fill(length) {
    Atomics.store(this.words, 1, length);
    Atomics.store(this.words, 0, FILLED);
  }

  get isFilled() {
    return Atomics.load(this.words, 0) === FILLED;
  }

  get isHashed() {
    return Atomics.load(this.words, 0) === HASHED;
  }

  /** True when it was this call that hashed it. */
  hashIfFilled() {
    if (Atomics.compareExchange(this.words, 0, FILLED, BEING_HASHED) !== FILLED) return false;
    this.digest.set(hash('sha256', this.bytes.subarray(0, Atomics.load(this.words, 1)), 'buffer'));
    Atomics.store(this.words, 0, HASHED);
    return true;
  }

  /** hex, once it is hashed; the slab is the mover's again. */
  takeDigest() {
    if (Atomics.compareExchange(this.words, 0, HASHED, OWN) !== HASHED) return undefined;
    return this.digest.toString('hex');
  }
}
