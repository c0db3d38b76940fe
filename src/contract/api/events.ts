import { z } from 'zod';
import { uuid } from './common.ts';
import { hostResource } from './host.ts';
import { imageResource } from './image.ts';
import { storeResource } from './store.ts';
import { taskResource } from './task.ts';
import { uploadResource } from './upload.ts';

/**
 * `GET /events`, as a WebSocket (one JSON object a message) or as `text/event-stream`. Each event
 * carries the whole resource as it is now; progress comes at most four times a second. Nothing is
 * replayed: after a reconnection, `hello` comes first and the client reads its lists again (and so whenever `hello` comes later).
 */
export const apiEvent = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hello'), version: z.string() }),
  z.object({ kind: z.literal('image'), image: imageResource }),
  z.object({ kind: z.literal('upload'), upload: uploadResource }),
  z.object({ kind: z.literal('task'), task: taskResource }),
  z.object({ kind: z.literal('store'), store: storeResource }),
  z.object({ kind: z.literal('host'), host: hostResource }),
  z.object({ kind: z.literal('image-deleted'), id: uuid }),
]);
export type ApiEvent = z.infer<typeof apiEvent>;
