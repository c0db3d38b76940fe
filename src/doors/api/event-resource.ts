import type { ApiEvent } from '../../contract/api/events.ts';
import type { Change } from '../../service/control/use-cases.ts';
import { hostResourceOf } from './host-resource.ts';
import { imageResourceOf } from './image-resource.ts';
import { storeResourceOf } from './store-resource.ts';
import { taskResourceOf } from './task-resource.ts';
import { uploadResourceOf } from './upload-resource.ts';

/** A change that has something to tell. */
export type Told = Exclude<Change, { readonly kind: 'missed' }>;

export function eventResourceOf(change: Told, chunkSize: number): ApiEvent {
  switch (change.kind) {
    case 'image':
      return { kind: 'image', image: imageResourceOf(change.image) };
    case 'image-deleted':
      return { kind: 'image-deleted', id: change.id };
    case 'upload':
      return { kind: 'upload', upload: uploadResourceOf(change.upload, chunkSize) };
    case 'task':
      return { kind: 'task', task: taskResourceOf(change.task) };
    case 'store':
      return { kind: 'store', store: storeResourceOf(change.store) };
    case 'host':
      return { kind: 'host', host: hostResourceOf(change.host) };
  }
}
