import { HawserError } from '../core/errors.ts';

/** Throws `bad-request` unless `key` is 1 to 200 of `[A-Za-z0-9._-]` and does not start with a dot. */
export function checkKey(key: string): void {
  if (/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/.test(key)) return;
  throw new HawserError(
    'bad-request',
    `A key has 1 to 200 letters, digits, dots, underscores and hyphens and does not start with a dot; found ${JSON.stringify(key.slice(0, 40))} with ${key.length} characters.`,
  );
}

/** Throws `out-of-range` unless the range lies inside an object of `size` bytes. */
export function checkInside(offset: number, length: number, size: number): void {
  if (offset >= 0 && offset + length <= size) return;
  throw new HawserError(
    'out-of-range',
    `Wanted ${length} bytes from ${offset}, but the object has ${size} bytes. Ask for a range inside it.`,
    { details: { offset, length, size } },
  );
}

/** Throws `out-of-range` unless offset and length are whole numbers, not negative, with a safe end. */
export function checkRange(offset: number, length: number): void {
  if (offset >= 0 && length >= 0 && Number.isSafeInteger(offset) && Number.isSafeInteger(offset + length)) return;
  throw new HawserError('out-of-range', `Wanted ${length} bytes from ${offset}: no object has such a range.`, {
    details: { offset, length },
  });
}
