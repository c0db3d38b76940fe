import { z } from 'zod';
import { bytes, timestamp, uuid } from './common.ts';
import { tags } from './host.ts';

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
  /** Its Copies are being moved to other Stores. */
  evicting: z.boolean(),
  tags,
  /** Why nothing new is placed here now; null: it may be. */
  unschedulable: z.string().nullable(),
  /** Copies that lie here, arriving and going ones too. */
  copyCount: z.number().int(),
  /** Stores of one host with the same word share capacity, free and reserved; null: it is alone. */
  filesystem: z.string().nullable(),
  capacity: bytes,
  free: bytes,
  /** Promised to Uploads and not yet written, on all Stores that share its space. */
  reserved: bytes,
  seenAt: timestamp.nullable(),
});
export type StoreResource = z.infer<typeof storeResource>;
export const storeList = z.object({ items: z.array(storeResource) });
/** `PATCH /stores/{id}`: what is left out stays. */
export const storeChange = z.object({
  enabled: z.boolean().optional(),
  evicting: z.boolean().optional(),
  tags: tags.optional(),
});
