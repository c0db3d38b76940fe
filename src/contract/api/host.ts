import { z } from 'zod';
import { bytes, name, timestamp, uuid } from './common.ts';

/** A word that placements ask for. */
export const tag = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._=-]{0,62}$/, 'letters, digits and . _ = -, at most 63');
export const tags = z.array(tag).max(32);

/** A machine with an agent and its Stores. */
export const hostResource = z.object({
  id: uuid,
  name: z.string(),
  /** `outdated`: its agent is too old or too new for this control; `status` says what to do. */
  state: z.enum(['online', 'offline', 'outdated', 'removed']),
  status: z.string(),
  version: z.string(),
  linkVersion: z.number().int(),
  enabled: z.boolean(),
  /** Being drained: Copies are moved to other hosts. */
  evicting: z.boolean(),
  /** Being drained, and nothing is left to move. */
  drained: z.boolean(),
  tags,
  agentUrl: z.string().nullable(),
  dataUrls: z.array(z.string()),
  storeCount: z.number().int(),
  copyCount: z.number().int(),
  capacity: bytes,
  free: bytes,
  seenAt: timestamp.nullable(),
  createdAt: timestamp,
});
export type HostResource = z.infer<typeof hostResource>;
export const hostList = z.object({ items: z.array(hostResource) });

/** `PATCH /hosts/{id}`. `evicting` true drains it (and places nothing new there), false takes that back. */
export const hostChange = z.object({
  enabled: z.boolean().optional(),
  evicting: z.boolean().optional(),
  tags: tags.optional(),
});

/** `POST /join-tokens`. */
export const joinTokenRequest = z.object({
  name: name.default('new host'),
  expiresInSeconds: z
    .number()
    .int()
    .positive()
    .max(7 * 86_400)
    .default(3600),
});
export const joinTokenResource = z.object({
  id: uuid,
  name: z.string(),
  createdBy: z.string(),
  createdAt: timestamp,
  expiresAt: timestamp,
  usedAt: timestamp.nullable(),
  hostId: uuid.nullable(),
});
export type JoinTokenResource = z.infer<typeof joinTokenResource>;
/** `secret` is shown this once: `hawser agent --join SECRET`. It carries where control is and how to know it again. */
export const joinTokenCreated = joinTokenResource.extend({
  secret: z.string(),
  /** Why hosts on other machines cannot use it, and what to set; null: they can, as far as is known. */
  warning: z.string().nullable(),
});
export const joinTokenList = z.object({ items: z.array(joinTokenResource) });
