import type { Selectable } from 'kysely';
import { type Digest, formatDigest, parseDigest } from '../core/digest.ts';
import { imageFormats } from '../core/formats.ts';
import type { Copy, DeclaredFormat, Image, Origin, TaskKind } from '../core/nouns.ts';
import type { CopyState } from '../core/states.ts';
import type { TaskRow, UploadDuty, UploadRow, Work } from '../service/control/ports.ts';
import type { Tables } from './tables.ts';

/** Rows become nouns here: the parser of what the database holds. */
export interface CopyRow {
  readonly id: string;
  readonly image_id: string;
  readonly store_id: string;
  readonly store_name: string;
  readonly host_id: string;
  readonly host_name: string;
  readonly key: string;
  readonly state: CopyState;
  readonly status: string;
  readonly stored_size: number | null;
  readonly fingerprint: string | null;
  /** Text where it comes as JSON. */
  readonly state_at: Date | string;
  readonly done_bytes: number;
}

export function copyOf(row: CopyRow): Copy {
  return {
    id: row.id,
    imageId: row.image_id,
    storeId: row.store_id,
    storeName: row.store_name,
    hostId: row.host_id,
    hostName: row.host_name,
    key: row.key,
    state: row.state,
    status: row.status,
    doneBytes: row.done_bytes,
    storedSize: row.stored_size,
    fingerprint: row.fingerprint,
    stateAt: new Date(row.state_at),
  };
}

export function imageOf(row: Selectable<Tables['images']> & { readonly copies: readonly CopyRow[] }): Image {
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    status: row.status,
    origin: row.origin as Origin,
    source: row.source,
    placement: { minCopies: row.min_copies, storeTags: row.store_tags, hostTags: row.host_tags },
    format: formatOf(row.format),
    declaredSize: row.declared_size,
    size: row.size,
    virtualSize: row.virtual_size,
    digests: row.digests.map(parseDigest),
    expectedDigest: row.expected_digest === null ? null : parseDigest(row.expected_digest),
    copies: row.copies.map(copyOf),
    uploadId: row.upload_id,
    taskId: row.task_id,
    owner: row.owner,
    createdAt: row.created_at,
    readyAt: row.ready_at,
  };
}

export function uploadOf(
  row: Selectable<Tables['uploads']> & { readonly name: string; readonly host_id: string },
): UploadRow {
  return {
    id: row.id,
    imageId: row.image_id,
    copyId: row.copy_id,
    taskId: row.task_id,
    name: row.name,
    state: row.state,
    status: row.status,
    generation: row.generation,
    purpose: row.purpose,
    source: row.source,
    declaredSize: row.declared_size,
    reserved: row.reserved,
    receivedBytes: row.received_bytes,
    zeroBytes: row.zero_bytes,
    format: formatOf(row.format),
    expectedDigest: row.expected_digest === null ? null : parseDigest(row.expected_digest),
    fingerprint: row.fingerprint,
    storeId: row.store_id,
    key: row.key,
    owner: row.owner,
    createdAt: row.created_at,
    activeAt: row.active_at,
    expiresAt: row.expires_at,
    hostId: row.host_id,
    duty: row.duty as UploadDuty | null,
    fromCopyId: row.from_copy,
  };
}

export interface TaskSource extends Selectable<Tables['tasks']> {
  readonly image_name: string | null;
  readonly received_bytes: number | null;
}

export function taskOf(row: TaskSource): TaskRow {
  const work = row.work === null ? null : (row.work as Work);
  return {
    id: row.id,
    kind: row.kind as TaskKind,
    state: row.state,
    status: row.status,
    cause: row.cause,
    imageId: row.image_id,
    imageName: row.image_name,
    uploadId: row.upload_id,
    // An Upload's Task follows its Upload until it has work of its own.
    doneBytes: work === null ? (row.received_bytes ?? row.done_bytes) : row.done_bytes,
    totalBytes: row.total_bytes,
    result: row.result as TaskRow['result'],
    owner: row.owner,
    createdAt: row.created_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    generation: row.generation,
    work,
    forget: row.forget,
  };
}

export function digestOrNull(digest: Digest | null): string | null {
  return digest === null ? null : formatDigest(digest);
}

function formatOf(text: string): DeclaredFormat {
  return imageFormats.find((known) => known === text) ?? 'auto';
}
