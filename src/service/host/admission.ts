import { HawserError } from '../../core/errors.ts';
import type { RangeSet } from '../../core/range.ts';
import type { ReceiveRequest } from './data-plane.ts';
import type { UploadRecord } from './ports.ts';
import { beyondLimit } from './upload-refusals.ts';

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

/** What goes on where a range ends is always welcome: it closes a gap sooner or later. */
function mustHaveFewGaps(received: RangeSet, offset: number): void {
  if (received.count < MOST_RANGES || offset === 0 || received.contains({ offset: offset - 1, length: 1 })) return;
  throw new HawserError(
    'too-many',
    `The upload has received ${received.count} separate ranges, more than are kept apart. Go on where one of them ends, then send the rest.`,
  );
}
