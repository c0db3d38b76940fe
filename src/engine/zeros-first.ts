import type { FlatAlgorithm, HashStream } from './hash-pool.ts';
import { isZero } from './zeros.ts';

/** Zeros at the beginning of a stream wait so long for something else. */
const MOST_WAITING = 64 * 1024 * 1024;
/** Digests that are remembered: sources are cut into pieces of one or two lengths. */
const MOST_REMEMBERED = 100;

/** Digests of nothing but zeros, by algorithm and length. */
export type ZeroDigests = Map<string, Buffer>;

/**
 * A stream whose first zeros are not hashed until something else comes: a piece of a sparse image is mostly nothing
 * but zeros, and then its length says all. `known` is shared by the streams of a pool.
 */
export function zerosFirst(algorithm: FlatAlgorithm, stream: HashStream, known: ZeroDigests): HashStream {
  /** undefined: not only zeros have come. */
  let waiting: number | undefined = 0;
  const handOver = () => {
    const length = waiting;
    waiting = undefined;
    return length === undefined || length === 0 ? undefined : stream.zeros(length);
  };
  return {
    update: async (slab, from, to) => {
      const mayWait = waiting !== undefined && waiting + to - from <= MOST_WAITING;
      if (mayWait && waiting !== undefined && isZero(slab.bytes.subarray(from, to))) waiting += to - from;
      else await Promise.all([handOver(), stream.update(slab, from, to)]);
    },
    zeros: async (length) => {
      await Promise.all([handOver(), stream.zeros(length)]);
    },
    digest: async () => {
      if (waiting === undefined) return stream.digest();
      const name = `${algorithm}:${waiting}`;
      const before = known.get(name);
      if (before !== undefined) {
        waiting = undefined;
        stream.drop();
        return before;
      }
      const [, digest] = await Promise.all([handOver(), stream.digest()]);
      if (known.size >= MOST_REMEMBERED) known.clear();
      known.set(name, digest);
      return digest;
    },
    drop: () => stream.drop(),
  };
}
