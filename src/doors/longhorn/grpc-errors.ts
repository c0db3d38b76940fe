import { status } from '@grpc/grpc-js';
import { type ErrorCode, toHawserError } from '../../core/errors.ts';

/** gRPC's word for each error. */
const codes = {
  'bad-request': status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  'not-found': status.NOT_FOUND,
  'name-ambiguous': status.FAILED_PRECONDITION,
  conflict: status.FAILED_PRECONDITION,
  'already-exists': status.ALREADY_EXISTS,
  'in-use': status.FAILED_PRECONDITION,
  'last-copy': status.FAILED_PRECONDITION,
  'range-conflict': status.FAILED_PRECONDITION,
  'out-of-range': status.OUT_OF_RANGE,
  incomplete: status.FAILED_PRECONDITION,
  'size-mismatch': status.FAILED_PRECONDITION,
  'digest-mismatch': status.DATA_LOSS,
  'format-unsafe': status.FAILED_PRECONDITION,
  'format-mismatch': status.FAILED_PRECONDITION,
  'quota-exceeded': status.RESOURCE_EXHAUSTED,
  'too-large': status.OUT_OF_RANGE,
  'store-full': status.RESOURCE_EXHAUSTED,
  'store-failed': status.UNAVAILABLE,
  'source-changed': status.ABORTED,
  corrupt: status.DATA_LOSS,
  paused: status.FAILED_PRECONDITION,
  expired: status.FAILED_PRECONDITION,
  cancelled: status.CANCELLED,
  fenced: status.ABORTED,
  'too-many': status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  'connection-lost': status.UNAVAILABLE,
  unsupported: status.UNIMPLEMENTED,
  internal: status.INTERNAL,
} as const satisfies Record<ErrorCode, status>;

export interface GrpcFailure {
  readonly code: status;
  readonly details: string;
}

/** What the client is told; of a fault of ours only that it happened. */
export function grpcFailure(error: unknown): GrpcFailure {
  const known = toHawserError(error);
  const details = known.code === 'internal' ? 'Something failed inside Hawser; the log says what.' : known.message;
  return { code: codes[known.code], details };
}
