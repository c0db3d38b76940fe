import { HawserError } from '../core/errors.ts';
import type { PageRequest, PageResult } from '../core/nouns.ts';

/** Where a page ended: lists are ordered by creation, newest first, then by id. */
export interface Place {
  readonly at: Date;
  readonly id: string;
}

/** Throws `bad-request` when the cursor is not one of ours. */
export function placeOf(page: PageRequest): Place | undefined {
  if (page.cursor === undefined) return undefined;
  const text = Buffer.from(page.cursor, 'base64url').toString('utf8');
  const match = /^(\d{1,15}):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(text);
  const [, at, id] = match ?? [];
  if (at === undefined || id === undefined) {
    throw new HawserError('bad-request', 'The cursor is not one that a list gave; begin again without it.');
  }
  return { at: new Date(Number(at)), id };
}

/** Cuts the one row too many that tells whether there is more. */
export function pageOf<R extends { readonly id: string; readonly created_at: Date }, T>(
  rows: readonly R[],
  limit: number,
  item: (row: R) => T,
): PageResult<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    items: shown.map(item),
    next: more ? Buffer.from(`${last.created_at.getTime()}:${last.id}`).toString('base64url') : null,
  };
}

/** `like` with the text taken as it is. */
export function containing(text: string): string {
  return `%${text.replace(/[\\%_]/g, (character) => `\\${character}`)}%`;
}
