import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Buffers that may become garbage before the young generation is collected. */
const EVERY_BYTES = 8 * 1024 * 1024;

type Collect = (options: { readonly type: 'minor' }) => void;

let collect: Collect | undefined;
let since = 0;

/**
 * Counts bytes that passed in Buffers which node:http made for us and which are garbage by now, and
 * collects the young generation now and then. Left alone, V8 counts that memory against the limit of its
 * old generation and starts full collections, a hundred in a few GiB: they cost more than the hashing. A
 * minor one takes about half a millisecond, and the allocator then hands out the same warm pages
 * again. `bin/hawser` gives the old generation the slack that this needs (--heap-growing-percent).
 */
export function passedInBuffers(bytes: number): void {
  since += bytes;
  if (since < EVERY_BYTES) return;
  since = 0;
  collect ??= findCollector();
  collect({ type: 'minor' });
}

/** `gc` is only visible in contexts that are made after the flag was set. */
function findCollector(): Collect {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return typeof found === 'function' ? (options) => void Reflect.apply(found, undefined, [options]) : () => {};
}
