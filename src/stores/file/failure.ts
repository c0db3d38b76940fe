import { type ErrorCode, HawserError, isHawserError } from '../../core/errors.ts';

/**
 * The system's error as ours. `doing` completes "cannot …". Paths stay in the cause.
 */
export function fileFailure(error: unknown, store: string, doing: string): HawserError {
  if (isHawserError(error)) return error;
  const errno = errnoOf(error);
  const { code, advice } = meanings.get(errno) ?? { code: 'store-failed' as const, advice: 'Look at its filesystem.' };
  return new HawserError(code, `The Store "${store}" cannot ${doing} (${errno || 'unknown error'}). ${advice}`, {
    details: { store, errno },
    cause: error,
  });
}

/** ENOENT and the like; empty when it is none. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

const meanings = new Map<string, { readonly code: ErrorCode; readonly advice: string }>([
  ['ENOSPC', { code: 'store-full', advice: 'Free space on its filesystem, or use another Store.' }],
  ['EDQUOT', { code: 'store-full', advice: 'Raise the filesystem quota, or use another Store.' }],
  ['EFBIG', { code: 'too-large', advice: 'Its filesystem takes no file of this size: use another Store.' }],
  ['ENOENT', { code: 'not-found', advice: 'There is nothing under this key.' }],
  ['EEXIST', { code: 'already-exists', advice: 'The key is taken.' }],
  [
    'ELOOP',
    { code: 'store-failed', advice: 'A symbolic link lies in its folder, which Hawser never follows: remove it.' },
  ],
  ['EROFS', { code: 'store-failed', advice: 'Its filesystem is read-only: look for errors in the kernel log.' }],
  ['EACCES', { code: 'store-failed', advice: 'Give the user that runs Hawser the right to its folder.' }],
  ['EPERM', { code: 'store-failed', advice: 'Give the user that runs Hawser the right to its folder.' }],
  ['EMFILE', { code: 'store-failed', advice: 'Raise the limit of open files (LimitNOFILE, ulimit -n).' }],
]);
