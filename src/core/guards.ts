import type { ErrorCode } from './errors.ts';
import { type Copy, type Image, unrepeatableOrigins } from './nouns.ts';
import { copyStoreTitle } from './store-title.ts';

/** Why Copies may not be removed. */
export interface Refusal {
  readonly code: Extract<ErrorCode, 'in-use' | 'conflict' | 'last-copy'>;
  /** For people: wanted, found, what to do. */
  readonly reason: string;
}

type Guarded = Pick<Image, 'name' | 'origin'> & {
  readonly placement: Pick<Image['placement'], 'minCopies'>;
  readonly copies: readonly Pick<Copy, 'id' | 'state' | 'storeName' | 'hostName'>[];
};

/**
 * The ladder that every removal of single Copies passes, in the transaction that marks them: never one in
 * use; never fewer ready ones than the Image wants; and of what cannot be fetched again never the last one
 * that holds its bytes, nor the only one in progress. Undefined: they may go. (An Image as a whole is
 * removed by its owner's word, without this.)
 */
export function removalRefusal(
  image: Guarded,
  victims: ReadonlySet<string>,
  inUse: ReadonlySet<string>,
): Refusal | undefined {
  const going = image.copies.filter((copy) => victims.has(copy.id));
  const staying = image.copies.filter((copy) => !victims.has(copy.id));
  const used = going.find((copy) => inUse.has(copy.id));
  if (used !== undefined) {
    return {
      code: 'in-use',
      reason: `The copy in ${copyStoreTitle(used)} is in use. Wait for what uses it, or cancel that.`,
    };
  }
  return lastBytes(image, going, staying) ?? tooFew(image, going, staying);
}

type Some = readonly Pick<Copy, 'state'>[];

function lastBytes(image: Guarded, going: Some, staying: Some): Refusal | undefined {
  if (!unrepeatableOrigins.includes(image.origin)) return undefined;
  // What is unknown may turn out to be good: it holds bytes until the re-check says otherwise.
  const holds = ['ready', 'unknown'] as const;
  const losesBytes = count(going, holds) > 0 && count(staying, ['ready']) === 0;
  if (losesBytes) {
    return {
      code: 'last-copy',
      reason: `"${image.name}" cannot be fetched again, and no other ready copy would be left. Make another copy first, or remove the image.`,
    };
  }
  const arriving = ['pending', 'in-progress'] as const;
  if (count(going, arriving) > 0 && count(staying, [...holds, ...arriving]) === 0) {
    return {
      code: 'last-copy',
      reason: `"${image.name}" is just arriving, and this is its only copy. Cancel the upload, or remove the image.`,
    };
  }
  return undefined;
}

function tooFew(image: Guarded, going: Some, staying: Some): Refusal | undefined {
  const { minCopies } = image.placement;
  const steps = [['ready'], ['ready', 'unknown', 'pending', 'in-progress']] as const;
  for (const [index, states] of steps.entries()) {
    const before = index === 0 ? count(going, ['ready']) : count(going, ['unknown', 'pending', 'in-progress']);
    const left = count(staying, states);
    if (before > 0 && left < minCopies) {
      return {
        code: 'conflict',
        reason: `"${image.name}" wants ${minCopies} ${minCopies === 1 ? 'copy' : 'copies'} and ${left} would be left. Make another copy first, or lower its minimum.`,
      };
    }
  }
  return undefined;
}

function count(copies: Some, states: readonly Copy['state'][]): number {
  return copies.filter((copy) => states.includes(copy.state)).length;
}

/** Why this one Copy cannot be removed by itself now, for people; null: it can. */
export function guardOf(image: Guarded, copyId: string): string | null {
  return removalRefusal(image, new Set([copyId]), new Set())?.reason ?? null;
}
