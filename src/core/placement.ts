import { HawserError } from './errors.ts';
import type { Placement, StoreRecord } from './nouns.ts';

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

interface Judged {
  readonly store: StoreRecord;
  readonly kind: 'fits' | 'full' | 'busy' | 'unfit' | 'taken' | 'away';
  /** For people: why not. */
  readonly reason: string;
}

/**
 * Where a new Copy goes: at random among the Stores that can take it, on another host than the Copies that
 * there are, if one can. `reachable` tells whether a host's agent can be spoken to from here; `chance` is
 * 0 ≤ x < 1. A refusal says of each Store why not: `not-found` (no such Store), `store-full`,
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
  const judged = asked.map((store) => judge(store, wanted, reachable));
  const fitting = judged.filter((one) => one.kind === 'fits').map((one) => one.store);
  const elsewhere = fitting.filter((store) => wanted.hosts?.has(store.hostId) !== true);
  const best = elsewhere.length > 0 ? elsewhere : fitting;
  const store = best[Math.floor(chance() * best.length)];
  if (store !== undefined) return { kind: 'placed', store };
  return refused(
    refusal(judged, wanted),
    judged.some((one) => one.kind === 'busy'),
  );
}

function refused(error: HawserError, waiting = false): Placed {
  return { kind: 'refused', error, waiting };
}

function judge(store: StoreRecord, wanted: Wanted, reachable: (hostId: string) => boolean): Judged {
  const { storeTags, hostTags } = wanted.placement;
  if (store.unschedulable !== null) return { store, kind: 'away', reason: store.unschedulable };
  if (!reachable(store.hostId)) {
    return { store, kind: 'away', reason: `The agent of ${store.hostName} has not been heard here yet.` };
  }
  const missing = [...lacking(storeTags, store.tags), ...lacking(hostTags, store.hostTags)];
  if (missing.length > 0) return { store, kind: 'unfit', reason: `It lacks the tag ${missing.join(', ')}.` };
  if (wanted.taken?.has(store.id) === true) return { store, kind: 'taken', reason: 'It holds a copy already.' };
  if (roomOf(store) < wanted.reserve) return { store, kind: 'full', reason: `${roomOf(store)} bytes are free.` };
  if (wanted.busy?.has(store.hostId) === true) {
    return { store, kind: 'busy', reason: `${store.hostName} fetches as many copies as it may (copies.perHost).` };
  }
  return { store, kind: 'fits', reason: '' };
}

function lacking(wanted: readonly string[], found: readonly string[]): readonly string[] {
  return wanted.filter((tag) => !found.includes(tag));
}

function roomOf(store: StoreRecord): number {
  return Math.max(0, store.free - store.reserved);
}

function refusal(judged: readonly Judged[], { reserve }: Wanted): HawserError {
  const full = judged.filter((one) => one.kind === 'full');
  const others = judged.filter((one) => one.kind !== 'full').map((one) => `${one.store.name}: ${one.reason}`);
  if (full.length > 0) {
    const room = full.map(({ store }) => ({ store: store.name, free: roomOf(store) }));
    const free = room.map((one) => `${one.free} on ${one.store}`).join(', ');
    const rest = others.length === 0 ? '' : ` Of the others, ${others.join(' ')}`;
    return new HawserError(
      'store-full',
      `${reserve} bytes are wanted; free are ${free}. Remove images or add space.${rest}`,
      { details: { wanted: reserve, room } },
    );
  }
  const why = others.join(' ');
  if (judged.length > 0 && judged.every((one) => one.kind === 'taken')) {
    return new HawserError('already-exists', `Every store has a copy already. ${why} Add a store.`);
  }
  if (judged.length > 0 && judged.every((one) => one.kind === 'taken' || one.kind === 'unfit')) {
    return new HawserError('conflict', `No store fits. ${why} Change the tags of a store, or what is asked for.`);
  }
  return new HawserError(
    'unavailable',
    `No store can take a copy now. ${why === '' ? 'There is none.' : why} Enable one or bring its host back.`,
  );
}
