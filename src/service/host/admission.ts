import { HawserError } from '../../core/errors.ts';
import type { RangeSet } from '../../core/range.ts';
import type { ReceiveRequest } from './data-plane.ts';
import type { RecordChange } from './kept-record.ts';
import type { UploadRecord } from './ports.ts';
import { beyondLimit, incomplete, sizeMismatch } from './upload-refusals.ts';

/** Separate ranges of one Upload: each gap takes memory, and a place in every list of ranges. */
const MOST_RANGES = 100_000;

/** Throws when a range can have no place in the Upload, before a byte of it is read. */
export function mustFit(record: UploadRecord, received: RangeSet, request: ReceiveRequest): void {
  const { declaredSize, maxSize } = record;
  const end = request.offset + (request.length ?? 0);
  if (declaredSize === null && maxSize !== null && end > maxSize) throw beyondLimit(maxSize);
  if (!Number.isSafeInteger(end)) {
    throw new HawserError('out-of-range', 'The range ends beyond 2^53; no image is as large. Nothing was read.');
  }
  mustHaveFewGaps(received, request.offset);
  if (declaredSize === null) return;
  if (request.total !== null && request.total !== declaredSize) {
    throw new HawserError(
      'size-mismatch',
      `Content-Range speaks of ${request.total} bytes in all; ${declaredSize} were declared for this upload. Nothing was read.`,
    );
  }
  if (end > declaredSize || (request.length === null && request.offset > declaredSize)) {
    throw new HawserError(
      'out-of-range',
      `The range ends at ${end}; ${declaredSize} bytes were declared for this upload. Nothing was read.`,
    );
  }
}

/** What a size that is said only now changes. `end`: how far the received bytes reach. */
export function sizedAs(record: UploadRecord, end: number, size: number): RecordChange | undefined {
  const { declaredSize, maxSize, reserve } = record;
  if (declaredSize === size) return undefined;
  if (maxSize !== null && size > maxSize) throw beyondLimit(maxSize);
  if (declaredSize !== null && end > 0) throw sizeMismatch(size, declaredSize);
  if (end > size) throw sizeMismatch(size, end);
  return { declaredSize: size, reserve: declaredSize === null ? Math.max(reserve, size) : size };
}

/** The size that it is finished with. Throws `size-mismatch`. */
export function finalSize({ declaredSize }: UploadRecord, end: number, wanted: number | null): number {
  if (wanted !== null && declaredSize !== null && wanted !== declaredSize) throw sizeMismatch(wanted, declaredSize);
  const size = declaredSize ?? wanted ?? end;
  if (end > size) throw sizeMismatch(size, end);
  return size;
}

export function mustBeWhole(received: RangeSet, size: number): void {
  const missing = [...received.missing({ offset: 0, length: size })];
  if (missing.length > 0) throw incomplete(size, missing);
}

/** What goes on where a range ends is always welcome: it closes a gap sooner or later. */
function mustHaveFewGaps(received: RangeSet, offset: number): void {
  if (received.count < MOST_RANGES || offset === 0 || received.contains({ offset: offset - 1, length: 1 })) return;
  throw new HawserError(
    'too-many',
    `The upload has received ${received.count} separate ranges, more than are kept apart. Go on where one of them ends, then send the rest.`,
  );
}
