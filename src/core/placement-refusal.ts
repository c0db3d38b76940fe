import { HawserError } from './errors.ts';
import type { StoreRecord } from './nouns.ts';
import { sizeTextBeside } from './size-text.ts';
import { storeTitle } from './store-title.ts';

/** Why one Store does not take a Copy. */
export interface Judged {
  readonly store: Pick<StoreRecord, 'id' | 'name' | 'hostName'>;
  /** Bytes that nobody was promised. */
  readonly room: number;
  readonly kind: 'fits' | 'full' | 'busy' | 'unfit' | 'taken' | 'away';
  /** For people: why not; a sentence that says nothing of which Store it is. */
  readonly reason: string;
}

/** So many Stores are named for each kind of reason: what is right for three must not become fifty lines. */
const NAMED = 3;

/** What somebody must know to have a Copy placed that no Store takes. `wanted` in bytes. */
export function placementRefusal(judged: readonly Judged[], wanted: number): HawserError {
  const only = (...kinds: readonly Judged['kind'][]) =>
    judged.length > 0 && judged.every(({ kind }) => kinds.includes(kind));
  const full = judged.filter(({ kind }) => kind === 'full').sort((a, b) => b.room - a.room);
  const why = reasonsOf(judged);
  if (full.length > 0) {
    const room = full.map(({ store, room }) => ({
      storeId: store.id,
      store: store.name,
      host: store.hostName,
      free: room,
    }));
    const rest = why === '' ? '' : ` No other one can take it: ${why}`;
    return new HawserError('store-full', `${fullText(full, wanted)} Remove images there or add space.${rest}`, {
      details: { wanted, room },
    });
  }
  if (only('taken')) {
    const all = judged.length === 1 ? '' : 'Every store has a copy already. ';
    return new HawserError('already-exists', `${all}${why} Add a store, or choose another one.`);
  }
  if (only('taken', 'unfit')) {
    return new HawserError('conflict', `No store fits. ${why} Change the tags of a store, or what is asked for.`);
  }
  return new HawserError(
    'unavailable',
    `No store can take a copy now. ${why === '' ? 'There is none.' : why} Enable one or bring its host back.`,
  );
}

function fullText(full: readonly Judged[], wanted: number): string {
  const [most] = full;
  if (most === undefined) return '';
  const asked = sizeTextBeside(wanted, most.room);
  if (full.length === 1) return `No room in ${storeTitle(most.store)}: wanted ${asked}, free ${free(most)}.`;
  const named = full.slice(0, NAMED).map((one) => `${free(one)} in ${storeTitle(one.store)}`);
  const less = full.length > NAMED ? `, no more in ${counted(full.length - NAMED)}` : '';
  return `No store has room: wanted ${asked}, free ${named.join(', ')}${less}.`;

  function free({ room }: Judged): string {
    return sizeTextBeside(room, wanted);
  }
}

/** One sentence or two for each kind, what can be changed first. */
function reasonsOf(judged: readonly Judged[]): string {
  const kinds = ['busy', 'away', 'unfit', 'taken'] as const;
  return kinds.flatMap((kind) => ofOneKind(judged.filter((one) => one.kind === kind))).join(' ');
}

/** Those with the same reason together: `Store "a" of host "x", store "b" of host "y": The tag ssd is missing.` */
function ofOneKind(judged: readonly Judged[]): readonly string[] {
  const groups = [...Map.groupBy(judged, ({ reason }) => reason)].sort(([, a], [, b]) => b.length - a.length);
  const sentences: string[] = [];
  let left = NAMED;
  let untold = judged.length;
  for (const [reason, group] of groups) {
    const named = group.slice(0, left);
    if (named.length === 0) break;
    const more = group.length - named.length;
    const names = named.map(({ store }) => storeTitle(store)).join(', ');
    sentences.push(`S${names.slice(1)}${more > 0 ? ` and ${counted(more)}` : ''}: ${reason}`);
    left -= named.length;
    untold -= group.length;
  }
  if (untold > 0) sentences.push(`The list of stores says why ${counted(untold)} cannot.`);
  return sentences;
}

function counted(stores: number): string {
  return stores === 1 ? 'one more store' : `${stores} more stores`;
}
