import { HawserError } from './errors.ts';
import type { Placement, StoreRecord } from './nouns.ts';
import { type Judged, placementRefusal } from './placement-refusal.ts';

/** What a new Copy asks of the place it goes to. Bytes. */
export interface Wanted {
  /** Space that is promised to it. */
  readonly reserve: number;
  readonly placement: Pick<Placement, 'storeTags' | 'hostTags'>;
  /** Only this Store. */
  readonly storeId?: string | undefined;
  /** Stores that hold a Copy of the Image already: it gets no second one there. */
  readonly taken?: ReadonlySet<string> | undefined;
  /** Hosts that hold one: another host is better, since one host may be lost whole. */
  readonly hosts?: ReadonlySet<string> | undefined;
  /** Hosts that fetch as much as they may already. */
  readonly busy?: ReadonlySet<string> | undefined;
}

export type Placed =
  | { readonly kind: 'placed'; readonly store: StoreRecord }
  /** `waiting`: only because hosts are busy. */
  | { readonly kind: 'refused'; readonly error: HawserError; readonly waiting: boolean };

/**
 * Where a new Copy goes: at random among the Stores that can take it, on another host than the Copies that
 * there are, if one can. `reachable` tells whether a host's agent can be spoken to from here; `chance` is
 * 0 ≤ x < 1. A refusal says why not, by kinds of reason: `not-found` (no such Store), `store-full`,
 * `already-exists` (it holds one), `conflict` (tags), `unavailable`.
 */
export function place(
  stores: readonly StoreRecord[],
  wanted: Wanted,
  reachable: (hostId: string) => boolean,
  chance: () => number,
): Placed {
  const asked = wanted.storeId === undefined ? stores : stores.filter((store) => store.id === wanted.storeId);
  if (wanted.storeId !== undefined && asked.length === 0) {
    return refused(new HawserError('not-found', 'There is no such store; see the list of stores.'));
  }
  const judged = asked.map((store) => ({ ...judge(store, wanted, reachable), store }));
  const fitting = judged.filter((one) => one.kind === 'fits').map((one) => one.store);
  const elsewhere = fitting.filter((store) => wanted.hosts?.has(store.hostId) !== true);
  const best = elsewhere.length > 0 ? elsewhere : fitting;
  const store = best[Math.floor(chance() * best.length)];
  if (store !== undefined) return { kind: 'placed', store };
  return refused(
    placementRefusal(judged, wanted.reserve),
    judged.some((one) => one.kind === 'busy'),
  );
}

function refused(error: HawserError, waiting = false): Placed {
  return { kind: 'refused', error, waiting };
}

function judge(store: StoreRecord, wanted: Wanted, reachable: (hostId: string) => boolean): Omit<Judged, 'store'> {
  const { storeTags, hostTags } = wanted.placement;
  const room = roomOf(store);
  if (store.unschedulable !== null) return { room, kind: 'away', reason: store.unschedulable };
  if (!reachable(store.hostId)) {
    return { room, kind: 'away', reason: `The agent of ${store.hostName} has not been heard here yet.` };
  }
  const missing = [...lacking(storeTags, store.tags), ...lacking(hostTags, store.hostTags)];
  if (missing.length > 0) return { room, kind: 'unfit', reason: `The tag ${missing.join(', ')} is missing there.` };
  if (wanted.taken?.has(store.id) === true) return { room, kind: 'taken', reason: 'A copy lies there already.' };
  if (room < wanted.reserve) return { room, kind: 'full', reason: 'It has no room.' };
  if (wanted.busy?.has(store.hostId) === true) {
    return { room, kind: 'busy', reason: `${store.hostName} fetches as many copies as it may (copies.perHost).` };
  }
  return { room, kind: 'fits', reason: '' };
}

function lacking(wanted: readonly string[], found: readonly string[]): readonly string[] {
  return wanted.filter((tag) => !found.includes(tag));
}

function roomOf(store: StoreRecord): number {
  return Math.max(0, store.free - store.reserved);
}
