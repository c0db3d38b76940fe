import { HawserError } from '../core/errors.ts';

/** What `tag` commands do: add these, take those away, or take all away first. */
export interface TagChange {
  readonly add: readonly string[];
  readonly remove?: readonly string[];
  readonly clear?: boolean;
}

/** The tags afterwards, each once; undefined when nothing was asked to be changed. */
export function tagsAfter(before: readonly string[], change: TagChange): readonly string[] | undefined {
  const { add, clear = false, remove = [] } = change;
  if (add.length === 0 && remove.length === 0 && !clear) return undefined;
  const kept = clear ? [] : before;
  for (const tag of remove) {
    if (kept.includes(tag)) continue;
    throw new HawserError('not-found', `There is no tag "${tag}" on it. It has: ${kept.join(', ') || 'none'}.`);
  }
  return [...new Set([...kept.filter((tag) => !remove.includes(tag)), ...add])];
}
