import { HawserError } from '../../core/errors.ts';
import type { UploadRow } from './ports.ts';
import type { UploadTarget } from './use-cases.ts';

/** Where bytes for it go. Throws what its state says. */
export function targetOf(upload: UploadRow, op: 'read' | 'write'): UploadTarget {
  if (op === 'write' && upload.source.kind !== 'client') throw fetchedError();
  const live =
    upload.state === 'open' || (op === 'read' && (upload.state === 'paused' || upload.state === 'finishing'));
  if (live) return { uploadId: upload.id, hostId: upload.hostId, generation: upload.generation };
  throw endedError(upload);
}

/** Nobody sends to, or finishes, what an agent fetches by itself. */
export function fetchedError(): HawserError {
  return new HawserError(
    'conflict',
    'The host fetches the bytes of this one by itself; follow its task, pause it or cancel it.',
  );
}

/** Why an Upload in this state takes nothing. */
export function endedError(upload: UploadRow): HawserError {
  const details = { state: upload.state };
  switch (upload.state) {
    case 'paused':
      return new HawserError('paused', 'The upload is paused; resume its task first.', { details });
    case 'expired':
      return new HawserError('expired', `${upload.status} Begin it anew.`, { details });
    case 'cancelled':
      return new HawserError('cancelled', `The upload was cancelled (${upload.status}); begin it anew.`, { details });
    case 'failed':
      return new HawserError('conflict', `The upload failed: ${upload.status}`, { details });
    case 'sealed':
      return new HawserError('conflict', 'The upload is finished; its image takes no more bytes.', { details });
    default:
      return new HawserError('conflict', `The upload is ${upload.state}; nothing is received now.`, { details });
  }
}
