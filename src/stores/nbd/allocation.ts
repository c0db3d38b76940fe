import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { DeviceExtent, DirtyExtent } from '../device.ts';
import { mergedExtents } from '../merged-extents.ts';
import type { NbdClient } from './client.ts';
import { isRefusal } from './failure.ts';
import { baseAllocation } from './protocol.ts';
import type { StatusExtent } from './replies.ts';
import { violation } from './transport.ts';

/** Bytes of one question; servers answer what they like of it. */
const STEP = 1024 * 1024 * 1024;
const BASE = 'base:allocation';
/** How deep in the chain of backing files a range is allocated; 0: nowhere. Source: docs/interop/nbd.txt of QEMU. */
const DEPTH = 'qemu:allocation-depth';
const DIRTY = 1;

/** Meta contexts to ask a server for. */
export function contextsFor(bitmap: string | true | undefined): readonly string[] {
  return [BASE, DEPTH, ...(bitmap === undefined ? [] : [bitmapContext(bitmap)])];
}

/** What an export tells about its extents. */
export class Allocation {
  readonly #client: NbdClient;
  readonly #names: ReadonlySet<string>;
  #refused = false;

  constructor(client: NbdClient) {
    this.#client = client;
    this.#names = new Set(client.export.contexts.values());
  }

  get known(): boolean {
    return this.#names.has(BASE);
  }

  /** All data where the server does not tell. */
  async *extents(range: Range, signal?: AbortSignal): AsyncGenerator<DeviceExtent> {
    const wanted = this.#names.has(DEPTH) ? [BASE, DEPTH] : [BASE];
    const parts = this.#parts(range, wanted, signal);
    const told = (async function* () {
      for await (const { offset, length, flags } of parts) yield { offset, length, ...kindOf(flags) };
    })();
    yield* mergedExtents(told, (a, b) => a.zero === b.zero && a.hole === b.hole);
  }

  /** true: of the only bitmap, or the first. Throws `not-found` when the server has no such bitmap. */
  dirty(bitmap: string | true): (range: Range, signal?: AbortSignal) => AsyncGenerator<DirtyExtent> {
    const wanted = bitmapContext(bitmap);
    const name = [...this.#names].find((each) => each === wanted || (bitmap === true && each.startsWith(wanted)));
    if (name === undefined) throw noBitmap(bitmap);
    return (range, signal) => {
      const parts = this.#parts(range, [name], signal);
      const told = (async function* () {
        for await (const { offset, length, flags } of parts) {
          if (flags === undefined) throw noBitmap(bitmap);
          yield { offset, length, dirty: ((flags[0] ?? 0) & DIRTY) !== 0 };
        }
      })();
      return mergedExtents(told, (a, b) => a.dirty === b.dirty);
    };
  }

  async *#parts(range: Range, wanted: readonly string[], signal?: AbortSignal): AsyncGenerator<Part> {
    const end = rangeEnd(range);
    for (let at = range.offset; at < end; ) {
      const asked = { offset: at, length: Math.min(end - at, STEP) };
      const lists = this.known && !this.#refused ? await this.#ask(asked, wanted, signal) : undefined;
      if (lists === undefined) {
        yield { ...asked, flags: undefined };
        at = rangeEnd(asked);
        continue;
      }
      for (const part of inStep(lists, asked)) {
        yield part;
        at = rangeEnd(part);
      }
      // Else it would be asked the same for ever.
      if (at === asked.offset) throw violation('a status that ends before the range that was asked for');
    }
  }

  /** undefined: the server does not want to be asked. */
  async #ask(asked: Range, wanted: readonly string[], signal?: AbortSignal): Promise<readonly Lists[] | undefined> {
    const { minimum } = this.#client.export.blocks;
    const offset = asked.offset - (asked.offset % minimum);
    const length = Math.ceil((rangeEnd(asked) - offset) / minimum) * minimum;
    try {
      const told = await this.#client.status({ offset, length }, signal);
      return wanted.map((name) => {
        const extents = told.get(name);
        if (extents === undefined) throw violation('a status without a context that was agreed on');
        return { offset, extents };
      });
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#refused = true;
      return undefined;
    }
  }
}

interface Lists {
  readonly offset: number;
  readonly extents: readonly StatusExtent[];
}

interface Part extends Range {
  /** One of each list; undefined where nothing was told. */
  readonly flags: readonly number[] | undefined;
}

/** Several lists walked in step, cut to `within`: as far as the shortest goes. */
function* inStep(lists: readonly Lists[], within: Range): Generator<Part> {
  const walks = lists.map(({ offset, extents }) => ({ extents, index: 0, end: offset + (extents[0]?.length ?? 0) }));
  for (let at = within.offset; at < rangeEnd(within); ) {
    for (const walk of walks) {
      while (walk.end <= at) {
        walk.index++;
        const next = walk.extents[walk.index];
        if (next === undefined) return;
        walk.end += next.length;
      }
    }
    const end = Math.min(rangeEnd(within), ...walks.map((walk) => walk.end));
    yield { offset: at, length: end - at, flags: walks.map(({ extents, index }) => extents[index]?.flags ?? 0) };
    at = end;
  }
}

function kindOf(flags: readonly number[] | undefined): { readonly zero: boolean; readonly hole: boolean } {
  if (flags === undefined) return { zero: false, hole: false };
  const [base = 0, depth] = flags;
  return {
    zero: (base & baseAllocation.zero) !== 0,
    hole: depth === undefined ? (base & baseAllocation.hole) !== 0 : depth === 0,
  };
}

function bitmapContext(bitmap: string | true): string {
  return `qemu:dirty-bitmap:${bitmap === true ? '' : bitmap}`;
}

function noBitmap(bitmap: string | true): HawserError {
  const which = bitmap === true ? '' : ` "${bitmap}"`;
  return new HawserError(
    'not-found',
    `The NBD server exports no dirty bitmap${which} here. Export it (qemu-nbd --bitmap), or ask for all extents.`,
  );
}
