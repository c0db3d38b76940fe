import { z } from 'zod';
import { imageFormats } from '../../core/formats.ts';
import { statesOf, uploadStates } from '../../core/states.ts';
import { hostIdentity } from '../host-identity.ts';
import { bytes, digestText, name, pageOf, pageQuery, range, timestamp, uuid } from './common.ts';
import { imageResource, placement, uploadSource } from './image.ts';

/** `POST /uploads`. Repeat it with the same Idempotency-Key and get the same answer. */
export const uploadRequest = z.object({
  name,
  /** Bytes; leave it out when it is not known (a pipe): `finish` then sets it. */
  size: bytes.max(2 ** 52).optional(),
  /** Bytes that are not holes, when the source knows them: only these are reserved. */
  dataSize: bytes.optional(),
  /** `auto` (the default): what the first bytes say. */
  format: z.enum([...imageFormats, 'auto']).default('auto'),
  /** What the whole content must have; checked before the Image becomes ready. */
  digest: digestText.optional(),
  /** The Store to use; otherwise one is chosen at random among those with room. */
  storeId: uuid.optional(),
  /** Anything that lets the client know its own source again (name, size, mtime); kept as it is. */
  fingerprint: z.string().max(1000).optional(),
  /** Fill this failed Image again instead of making a new one. */
  imageId: uuid.optional(),
  placement: placement.partial().optional(),
});
export type UploadRequest = z.input<typeof uploadRequest>;

/** Where the bytes may go directly, past the API: `url` + `/data` and so on with `authorization: Bearer token`. */
export const dataAccess = z.object({
  url: z.string(),
  token: z.string(),
  expiresAt: timestamp,
  /** PEM that the certificate there is verified with; null: the usual roots, or plain HTTP. */
  ca: z.string().nullable().default(null),
  /** The host whose certificate must be shown there; null: it says nothing of hosts. */
  host: hostIdentity.nullable().default(null),
});
export type DataAccess = z.infer<typeof dataAccess>;

export const uploadResource = z.object({
  id: uuid,
  imageId: uuid,
  taskId: uuid,
  name,
  state: z.enum(statesOf(uploadStates)),
  status: z.string(),
  /** `copy`: one more Copy of a ready Image, fetched by the agent. */
  purpose: z.enum(['fill', 'copy']),
  source: uploadSource,
  declaredSize: bytes.nullable(),
  receivedBytes: bytes,
  zeroBytes: bytes,
  format: z.enum([...imageFormats, 'auto']),
  digest: digestText.nullable(),
  fingerprint: z.string().nullable(),
  storeId: uuid,
  owner: z.string(),
  /** How large a PUT should be here, bytes; a multiple of 1 MiB. */
  chunkSize: bytes,
  createdAt: timestamp,
  activeAt: timestamp.nullable(),
  /** When it is given up and its space comes back, if nothing arrives until then. */
  expiresAt: timestamp,
});
export type UploadResource = z.infer<typeof uploadResource>;

export const uploadQuery = pageQuery.extend({
  name: z.string().optional(),
  state: z.enum(statesOf(uploadStates)).optional(),
  fingerprint: z.string().optional(),
});
export const uploadPage = pageOf(uploadResource);

/** `GET /uploads/{id}/ranges`: what has been acknowledged. */
export const receivedRanges = z.object({
  declaredSize: bytes.nullable(),
  receivedBytes: bytes,
  /** Received, data and zeros alike; in order, merged. */
  ranges: z.array(range),
  /** Of these, the zeros. */
  zeros: z.array(range),
  /** Parts of blocks that are not complete yet, with the SHA-256 (hex) of exactly these bytes. */
  fragments: z.array(range.extend({ sha256: z.string() })),
});
export type ReceivedRanges = z.infer<typeof receivedRanges>;

/** Answer of `PUT /uploads/{id}/data` and `POST …/zeros`: everything in the request is acknowledged. */
export const receipt = z.object({
  offset: bytes,
  length: bytes,
  receivedBytes: bytes,
  /** True once every byte of the declared size is there. */
  complete: z.boolean(),
});
export type Receipt = z.infer<typeof receipt>;

/** `POST /uploads/{id}/zeros`: these ranges are zeros; nothing is sent for them. */
export const zerosRequest = z.object({ ranges: z.array(range).min(1).max(10_000) });

/** `POST /uploads/{id}/finish`. Repeatable; copies nothing. `digest` tree-sha256 is compared at once, a flat one by the Task. */
export const finishRequest = z.object({ size: bytes.optional(), digest: digestText.optional() });
export const finishAnswer = z.object({ upload: uploadResource, image: imageResource });
export type FinishAnswer = z.infer<typeof finishAnswer>;
