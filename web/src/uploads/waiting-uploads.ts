import { useInterval } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { queries } from '../api/queries.ts';
import { useSignal } from '../parts/signal-store.ts';
import { fileNameOf } from './fingerprint.ts';
import { ownUploads } from './own-uploads.ts';
import { uploadBoard } from './upload-board.ts';

/** Longer without a byte, and nobody else is sending it. */
const QUIET_MS = 10_000;

/** Unfinished Uploads of this user that nobody sends now: each waits for its file. */
export function useWaitingUploads(): readonly UploadResource[] {
  const me = useQuery(queries.me()).data;
  const open = useQuery({ ...queries.openUploads(), refetchInterval: 10_000 }).data ?? [];
  const items = useSignal(uploadBoard.items);
  const [now, setNow] = useState(Date.now);
  useInterval(() => setNow(Date.now()), 2_000, { autoInvoke: true });
  const own = ownUploads();
  const here = new Set(items.map((item) => item.uploadId));
  return open.filter(
    (upload) =>
      upload.source.kind === 'client' &&
      upload.owner === me?.user &&
      !here.has(upload.id) &&
      (own.has(upload.id) || isQuiet(upload, now)),
  );
}

/** The waiting Upload that this file belongs to by name and size; its content is checked before anything is sent. */
export function waitingFor(file: File, waiting: readonly UploadResource[]): UploadResource | undefined {
  return waiting.find(
    (upload) => upload.declaredSize === file.size && (upload.name === file.name || fileNameOf(upload) === file.name),
  );
}

function isQuiet(upload: UploadResource, now: number): boolean {
  return upload.state === 'paused' || now - Date.parse(upload.activeAt ?? upload.createdAt) > QUIET_MS;
}
