import { type ErrorCode, type ErrorDetails, HawserError } from '../core/errors.ts';
import { errnoOf } from './file/failure.ts';

/** The system's error as ours. `doing` completes "cannot …". Paths stay in the cause. */
export function deviceFailure(error: unknown, doing: string, details: ErrorDetails = {}): HawserError {
  const errno = errnoOf(error);
  const { code, advice } = meanings.get(errno) ?? { code: 'store-failed' as const, advice: 'Look at its disk.' };
  return new HawserError(code, `The device cannot ${doing} (${errno || 'unknown error'}). ${advice}`, {
    details: { errno, ...details },
    cause: error,
  });
}

const meanings = new Map<string, { readonly code: ErrorCode; readonly advice: string }>([
  ['ENOSPC', { code: 'store-full', advice: 'Free space below it.' }],
  ['EDQUOT', { code: 'store-full', advice: 'Raise the quota of its filesystem.' }],
  ['EFBIG', { code: 'too-large', advice: 'Its filesystem takes no file of this size.' }],
  ['ENOENT', { code: 'not-found', advice: 'It is not there.' }],
  ['ENOTDIR', { code: 'not-found', advice: 'It is not there.' }],
  ['ENXIO', { code: 'not-found', advice: 'There is no device behind it.' }],
  ['EACCES', { code: 'forbidden', advice: 'Give the user that runs Hawser the right to it.' }],
  ['EPERM', { code: 'forbidden', advice: 'Give the user that runs Hawser the right to it.' }],
  ['EROFS', { code: 'forbidden', advice: 'It can only be read.' }],
  ['EBUSY', { code: 'in-use', advice: 'Another program has it: wait for it or end it.' }],
]);
