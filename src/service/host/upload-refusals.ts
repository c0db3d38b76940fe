import { leafCount } from '../../core/digest.ts';
import { HawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import type { UploadState } from '../../core/states.ts';
import type { SealedFacts } from './ports.ts';

export interface FinishWanted {
  readonly size: number | null;
  /** hex */
  readonly treeDigest: string | null;
}

/** What an Upload says when it will not. */
export function paused(): HawserError {
  return new HawserError('paused', 'The upload is paused. Resume its task and send on; what was received is kept.');
}

export function closed(state: UploadState): HawserError {
  const code = state === 'cancelled' || state === 'expired' ? state : 'conflict';
  return new HawserError(code, `The upload is ${state}; it takes no more bytes.`, { details: { state } });
}

export function beyondLimit(maxSize: number): HawserError {
  return new HawserError('too-large', `At most ${maxSize} bytes are accepted here (uploads.maxSize).`, {
    details: { maxSize },
  });
}

export function sizeMismatch(wanted: number, found: number): HawserError {
  return new HawserError(
    'size-mismatch',
    `The size was given as ${wanted} bytes, but it is ${found}. Nothing was changed.`,
    { details: { wanted, found } },
  );
}

export function treeMismatch(wanted: string, found: string): HawserError {
  return new HawserError(
    'digest-mismatch',
    `The source's tree-sha256 is ${wanted}, what was received has ${found}. The upload is kept: compare the blocks (leaves), discard those that differ and send them again.`,
    { details: { wanted: `tree-sha256:${wanted}`, found: `tree-sha256:${found}` } },
  );
}

/** A finish that is repeated must want what was sealed. */
export function checkSealed(sealed: SealedFacts | null, wanted: FinishWanted): void {
  if (sealed === null) return;
  if (wanted.size !== null && wanted.size !== sealed.size) throw sizeMismatch(wanted.size, sealed.size);
  if (wanted.treeDigest !== null && wanted.treeDigest !== sealed.treeDigest)
    throw treeMismatch(wanted.treeDigest, sealed.treeDigest);
}

export function incomplete(size: number, missing: readonly Range[]): HawserError {
  const bytes = missing.reduce((sum, range) => sum + range.length, 0);
  const first = missing[0];
  return new HawserError(
    'incomplete',
    `${bytes} of ${size} bytes are missing in ${missing.length} range(s)${first === undefined ? '' : `, the first from ${first.offset} to ${rangeEnd(first)}`}. Send them and finish again.`,
    { details: { missing: missing.slice(0, 100), missingBytes: bytes, blocks: leafCount(size) } },
  );
}
