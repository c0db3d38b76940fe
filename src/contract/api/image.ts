import { z } from 'zod';
import { imageFormats } from '../../core/formats.ts';
import { copyStates, imageStates, statesOf } from '../../core/states.ts';
import { bytes, digestText, name, pageOf, pageQuery, range, timestamp, uuid } from './common.ts';
import { tags } from './host.ts';

export const copyResource = z.object({
  id: uuid,
  storeId: uuid,
  storeName: z.string(),
  hostId: uuid,
  hostName: z.string(),
  state: z.enum(statesOf(copyStates)),
  /** Free text for people: why it is in this state. */
  status: z.string(),
  doneBytes: bytes,
  storedSize: bytes.nullable(),
  /** Why it cannot be removed now, for people; null: it can. */
  guard: z.string().nullable(),
});

/** Where the Copies shall lie, and how many. */
export const placement = z.object({
  minCopies: z.number().int().min(1).max(20),
  storeTags: tags,
  hostTags: tags,
});

/** How an agent fetches it by itself, for Origins `download` and `clone`. */
export const uploadSource = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('client') }),
  z.object({ kind: z.literal('copy'), imageId: uuid }),
  z.object({ kind: z.literal('url'), url: z.string(), decompress: z.enum(['none', 'auto']) }),
]);

export const origins = ['upload', 'download', 'export-from-volume', 'restore', 'clone'] as const;

/** An Image: named bytes with a format and a size that never change once ready. */
export const imageResource = z.object({
  id: uuid,
  name,
  state: z.enum(statesOf(imageStates)),
  status: z.string(),
  origin: z.enum(origins),
  source: uploadSource,
  placement,
  /** `auto` until the head was seen. */
  format: z.enum([...imageFormats, 'auto']),
  declaredSize: bytes.nullable(),
  /** Bytes of content; null until ready. */
  size: bytes.nullable(),
  /** Bytes a machine sees; differs from size for qcow2 and its like. */
  virtualSize: bytes.nullable(),
  storedSize: bytes.nullable(),
  /** `tree-sha256:…` and the flat ones that are known. */
  digests: z.array(digestText),
  copies: z.array(copyResource),
  /** The Upload that fills or filled it. */
  uploadId: uuid.nullable(),
  /** The Task that works on it now or did last. */
  taskId: uuid.nullable(),
  owner: z.string(),
  createdAt: timestamp,
  readyAt: timestamp.nullable(),
});
export type ImageResource = z.infer<typeof imageResource>;

export const imageQuery = pageQuery.extend({
  name: z.string().optional(),
  state: z.enum(statesOf(imageStates)).optional(),
  /** Part of a name. */
  search: z.string().max(255).optional(),
});
export const imagePage = pageOf(imageResource);

/** `PATCH /images/{id}`: what is left out stays. */
export const imageChange = z.object({ name: name.optional(), placement: placement.partial().optional() });

/** `POST /images`: one that the agents fetch by themselves. Repeat it with the same Idempotency-Key. */
export const imageCreate = z.object({
  name,
  origin: z.discriminatedUnion('kind', [
    z.object({
      kind: z.literal('download'),
      /** http or https; no address of this machine or its network unless `downloads.allow` says so. */
      url: z.url().max(4000),
      decompress: z.enum(['none', 'auto']).default('none'),
    }),
    z.object({ kind: z.literal('clone'), imageId: uuid }),
  ]),
  format: z.enum([...imageFormats, 'auto']).default('auto'),
  /** What the whole content must have. */
  digest: digestText.optional(),
  placement: placement.partial().optional(),
  storeId: uuid.optional(),
});
export type ImageCreate = z.input<typeof imageCreate>;

/** `POST /images/{id}/copies`: one more Copy now, on this Store or a chosen one. */
export const copyRequest = z.object({ storeId: uuid.optional() });
/** `POST /images/{id}/cleanup`: removes these Copies, all or none; `last-copy`, `in-use` or `conflict` say why not. */
export const cleanupRequest = z.object({ copyIds: z.array(uuid).min(1).max(1000) });

/** `GET /images/{id}/extents`: data and holes, in order, without gaps. At most 10 000 a call; go on at `next`. */
export const extentList = z.object({
  size: bytes,
  extents: z.array(range.extend({ kind: z.enum(['data', 'hole']) })),
  /** Offset to go on at, null at the end. */
  next: bytes.nullable(),
});
export type ExtentList = z.infer<typeof extentList>;
export const extentQuery = z.object({ from: z.coerce.number().int().nonnegative().default(0) });

/** `GET /images/{id}/leaves` and `/uploads/{id}/leaves`: 32 bytes a block; all zero: not known. At most 65 536 a call. */
export const leafQuery = z.object({
  first: z.coerce.number().int().nonnegative().default(0),
  count: z.coerce.number().int().positive().max(65_536).default(65_536),
});

export const digestRequest = z.object({ algorithm: z.enum(['sha256', 'sha512', 'md5']) });
