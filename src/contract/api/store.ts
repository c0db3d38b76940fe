import { z } from 'zod';
import { bytes, timestamp, uuid } from './common.ts';

export const storeResource = z.object({
  id: uuid,
  name: z.string(),
  driver: z.string(),
  hostId: uuid,
  hostName: z.string(),
  /** `online`: the agent answers and the Store works. */
  state: z.enum(['online', 'offline', 'failed']),
  status: z.string(),
  enabled: z.boolean(),
  capacity: bytes,
  free: bytes,
  /** Promised to Uploads and not yet written. */
  reserved: bytes,
  seenAt: timestamp.nullable(),
});
export type StoreResource = z.infer<typeof storeResource>;
export const storeList = z.object({ items: z.array(storeResource) });
export const storeChange = z.object({ enabled: z.boolean() });
