import { type ErrorCode, HawserError } from '../../core/errors.ts';
import { errno } from './protocol.ts';

/** The server's errno as ours. Its text may name files of its host, so it stays in the cause. */
export function nbdFailure(number: number, said = ''): HawserError {
  const { code, why } = meanings.get(number) ?? { code: 'store-failed' as const, why: `error ${number}` };
  const text = said.replace(/[^\x20-\x7e]/g, '?');
  return new HawserError(code, `The NBD server could not do it: ${why}.`, {
    details: { nbdError: number },
    ...(text === '' ? {} : { cause: new Error(`the NBD server said: ${text}`) }),
  });
}

/** Whether the error says that the server cannot do this at all, so that it is not asked again. */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof HawserError)) return false;
  return error.details.nbdError === errno.notsup || error.details.nbdError === errno.inval;
}

const meanings = new Map<number, { readonly code: ErrorCode; readonly why: string }>([
  [errno.perm, { code: 'forbidden', why: 'it may not (EPERM); it was perhaps opened for reading only' }],
  [errno.io, { code: 'store-failed', why: 'reading or writing failed below it (EIO); look at its log and its disk' }],
  [errno.nomem, { code: 'store-failed', why: 'it has no memory left (ENOMEM)' }],
  [errno.inval, { code: 'store-failed', why: 'it calls the request invalid (EINVAL)' }],
  [errno.nospc, { code: 'store-full', why: 'there is no space left below it (ENOSPC); free some and try again' }],
  [errno.overflow, { code: 'store-failed', why: 'the request was too large for it (EOVERFLOW)' }],
  [errno.notsup, { code: 'unsupported', why: 'it does not support this (ENOTSUP)' }],
  [errno.shutdown, { code: 'unavailable', why: 'it is shutting down (ESHUTDOWN); try again when it is back' }],
]);
