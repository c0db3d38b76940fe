import { z } from 'zod';
import { taskKinds } from '../../core/nouns.ts';
import { statesOf, taskStates } from '../../core/states.ts';
import { bytes, pageOf, pageQuery, timestamp, uuid } from './common.ts';

/** Long work that a person can see, pause and cancel. */
export const taskResource = z.object({
  id: uuid,
  kind: z.enum(taskKinds),
  state: z.enum(statesOf(taskStates)),
  /** Free text for people: what happens now or why it ended. */
  status: z.string(),
  /** Why it is PAUSED or FAILURE: an error code, `user` or `client-away`. */
  cause: z.string().nullable(),
  imageId: uuid.nullable(),
  imageName: z.string().nullable(),
  uploadId: uuid.nullable(),
  doneBytes: bytes,
  /** null: not known. */
  totalBytes: bytes.nullable(),
  /** Bytes per second over the last seconds; null when nothing moves. */
  rate: bytes.nullable(),
  result: z.record(z.string(), z.unknown()).nullable(),
  owner: z.string(),
  /** What its owner may do now. */
  actions: z.array(z.enum(['pause', 'resume', 'cancel'])),
  createdAt: timestamp,
  startedAt: timestamp.nullable(),
  endedAt: timestamp.nullable(),
});
export type TaskResource = z.infer<typeof taskResource>;

export const taskQuery = pageQuery.extend({
  /** Several, divided by commas. */
  state: z.string().optional(),
  kind: z.enum(taskKinds).optional(),
  imageId: uuid.optional(),
  /** Part of the Image's name. */
  search: z.string().max(255).optional(),
});
export const taskPage = pageOf(taskResource);

export const taskEventResource = z.object({
  at: timestamp,
  from: z.string().nullable(),
  to: z.string(),
  cause: z.string().nullable(),
  status: z.string(),
});
export const taskEvents = z.object({ items: z.array(taskEventResource) });
