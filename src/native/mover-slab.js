// Plain JavaScript, for workers. A slab as the mover and its hash threads share it.
import { isPairOf, sha256Each } from './sha256.js';

// States. First the mover's own.
const OWN = 0;
/** Whoever takes it first hashes it. */
const FILLED = 1;
const BEING_HASHED = 2;
const HASHED = 3;
/** With the main thread, which writes it somewhere and makes it ours again: socket-mover.ts. */
const LENT = 4;

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

  lend() {
    Atomics.store(this.words, 0, LENT);
  }

  get isLent() {
    return Atomics.load(this.words, 0) === LENT;
  }

  get length() {
    return Atomics.load(this.words, 1);
  }

  /** Whether it is the caller's to hash now. */
  claim() {
    return Atomics.compareExchange(this.words, 0, FILLED, BEING_HASHED) === FILLED;
  }

  /** By whoever has claimed it. */
  setDigest(digest) {
    this.digest.set(digest);
    Atomics.store(this.words, 0, HASHED);
  }

  /** hex, once it is hashed; the slab is the mover's again. */
  takeDigest() {
    if (Atomics.compareExchange(this.words, 0, HASHED, OWN) !== HASHED) return undefined;
    return this.digest.toString('hex');
  }
}

/**
 * Hashes one that is filled, or two that go together; the first ones first. False when another thread has taken
 * all of them, or there is none.
 * @param {Iterable<MoverSlab>} slabs
 */
export function hashFilled(slabs) {
  const claimed = [];
  for (const slab of slabs) {
    if (!slab.isFilled) continue;
    if (claimed.length > 0 && !isPairOf(claimed[0].length, slab.length)) continue;
    if (slab.claim()) claimed.push(slab);
    if (claimed.length === 2) break;
  }
  const digests = sha256Each(claimed.map(({ bytes, length }) => bytes.subarray(0, length)));
  for (const [i, slab] of claimed.entries()) slab.setDigest(digests[i]);
  return claimed.length > 0;
}
