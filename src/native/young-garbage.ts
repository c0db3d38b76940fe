import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Buffers that may become garbage before the young generation is collected. */
const EVERY_BYTES = 8 * 1024 * 1024;

/** How often the old generation is looked at, in bytes passed, and what it may have grown by then. */
const LOOK_EVERY_BYTES = 512 * 1024 * 1024;
const MOST_GROWTH = 8 * 1024 * 1024;

type Collect = (options: { readonly type: 'minor' | 'major' }) => void;

let collect: Collect | undefined;
let since = 0;
let sinceLook = 0;
/** Heap in use after the last full collection, as far as we saw. */
let settled = 0;

/**
 * Counts bytes that passed in Buffers which node:http made for us and which are garbage by now, and
 * collects the young generation now and then. Left alone, V8 counts that memory against the limit of its
 * old generation and starts full collections, a hundred in a few GiB: they cost more than the hashing. A
 * minor one takes about half a millisecond, and the allocator then hands out the same warm pages
 * again. `bin/hawser` gives the old generation the slack that this needs (--heap-growing-percent).
 *
 * With each of them some of what a request needs only for its own time gets old. When bodies are many and small
 * (chunks of a few MiB, each with its request, its relay and its queries) the slack would fill with that: 8 MiB in
 * a GiB. So when it has grown by that much all is collected: 50 to 100 ms, once in a GiB or more.
 */
export function passedInBuffers(bytes: number): void {
  since += bytes;
  if (since < EVERY_BYTES) return;
  sinceLook += since;
  since = 0;
  collect ??= findCollector();
  collect({ type: 'minor' });
  if (sinceLook < LOOK_EVERY_BYTES) return;
  sinceLook = 0;
  collectOld(collect);
}

function collectOld(collect: Collect): void {
  settled = Math.min(settled, getHeapStatistics().used_heap_size); // V8 may have collected by itself
  if (getHeapStatistics().used_heap_size - settled < MOST_GROWTH) return;
  collect({ type: 'major' });
  settled = getHeapStatistics().used_heap_size;
}

/** `gc` is only visible in contexts that are made after the flag was set. */
function findCollector(): Collect {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  setFlagsFromString('--no-expose-gc');
  return typeof found === 'function' ? (options) => void Reflect.apply(found, undefined, [options]) : () => {};
}
