import type { DataAccess, UploadResource } from '../../contract/api/upload.ts';
import { formatDigest } from '../../core/digest.ts';
import type { Upload } from '../../core/nouns.ts';
import type { Access } from '../../service/control/use-cases.ts';

/** `chunkSize` is what clients are told to send in one PUT, bytes. */
export function uploadResourceOf(upload: Upload, chunkSize: number): UploadResource {
  return {
    id: upload.id,
    imageId: upload.imageId,
    taskId: upload.taskId,
    name: upload.name,
    state: upload.state,
    status: upload.status,
    purpose: upload.purpose,
    source: upload.source,
    declaredSize: upload.declaredSize,
    receivedBytes: upload.receivedBytes,
    zeroBytes: upload.zeroBytes,
    format: upload.format,
    digest: upload.expectedDigest === null ? null : formatDigest(upload.expectedDigest),
    fingerprint: upload.fingerprint,
    storeId: upload.storeId,
    owner: upload.owner,
    chunkSize,
    createdAt: upload.createdAt.toISOString(),
    activeAt: upload.activeAt?.toISOString() ?? null,
    expiresAt: upload.expiresAt.toISOString(),
  };
}

export function accessResourceOf(access: Access): DataAccess {
  const { url, token, ca, host, expiresAt } = access;
  return { url, token, ca, host, expiresAt: expiresAt.toISOString() };
}
