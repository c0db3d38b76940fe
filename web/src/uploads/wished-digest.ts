import { parseDigest } from '../../../src/core/digest.ts';
import { isHawserError } from '../../../src/core/errors.ts';

/** Digits alone are taken by their number: that is how download pages print them. */
export function wishedDigest(text: string | undefined): string | undefined {
  const clean = text?.trim().toLowerCase() ?? '';
  if (clean === '') return undefined;
  const byLength: Readonly<Record<number, string>> = { 64: 'sha256', 128: 'sha512', 32: 'md5' };
  const algorithm = byLength[clean.length];
  return !clean.includes(':') && algorithm ? `${algorithm}:${clean}` : clean;
}

export function digestComplaint(text: string | undefined): string | undefined {
  const digest = wishedDigest(text);
  if (digest === undefined) return undefined;
  try {
    parseDigest(digest);
    return undefined;
  } catch (error) {
    if (isHawserError(error)) return 'A digest is 64 (sha256), 128 (sha512) or 32 (md5) hexadecimal digits.';
    throw error;
  }
}
