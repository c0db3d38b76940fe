import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { shownUrl } from '../../../src/client/url-text.ts';
import type { ImageResource } from '../../../src/contract/api/image.ts';
import type { StoreResource } from '../../../src/contract/api/store.ts';
import type { TaskResource } from '../../../src/contract/api/task.ts';
import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { queries } from '../api/queries.ts';

/** From where to where, of a Task that fetches: `cloud.example/debian.qcow2 → fast on north`. */
export function TaskRoute({ task }: { readonly task: TaskResource }) {
  const fetches = task.kind === 'download' || task.kind === 'clone' || task.kind === 'replicate';
  const upload = useQuery({ ...queries.upload(task.uploadId ?? ''), enabled: fetches && task.uploadId !== null }).data;
  const stores = useQuery({ ...queries.stores(), enabled: fetches }).data?.items ?? [];
  const sourceId = upload?.source.kind === 'copy' ? upload.source.imageId : undefined;
  const source = useQuery({ ...queries.image(sourceId ?? ''), enabled: sourceId !== undefined, retry: false }).data;
  if (upload === undefined) return null;
  const { from, to } = task.result ?? {};
  // Where it reads from is chosen when it begins, and again when that one is gone.
  const known = upload.source.kind === 'copy' && typeof from === 'string' ? from : undefined;
  const text = `${known ?? fromText(upload, source)} → ${typeof to === 'string' ? to : toText(upload, stores)}`;
  return (
    <Text size="sm" className="h-break">
      {text}
    </Text>
  );
}

function fromText({ purpose, source, storeId }: UploadResource, image: ImageResource | undefined): string {
  if (source.kind === 'url') return shownUrl(source.url);
  if (source.kind === 'client') return 'a client';
  const places = (image?.copies ?? []).filter((copy) => copy.state === 'ready' && copy.storeId !== storeId);
  const [place, ...more] = places;
  const where = place !== undefined && more.length === 0 ? `${place.storeName} on ${place.hostName}` : 'a ready Copy';
  return purpose === 'copy' || image === undefined ? where : `${image.name}, ${where}`;
}

function toText({ storeId }: UploadResource, stores: readonly StoreResource[]): string {
  const store = stores.find((each) => each.id === storeId);
  return store === undefined ? 'a Store that is gone' : `${store.name} on ${store.hostName}`;
}
