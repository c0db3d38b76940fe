import { createHash } from 'node:crypto';
import { type Digest, formatDigest } from '../../core/digest.ts';
import { HawserError, isHawserError, toHawserError } from '../../core/errors.ts';
import type {
  DeclaredFormat,
  Placement,
  StoreRecord,
  TaskKind,
  UploadPurpose,
  UploadSource,
} from '../../core/nouns.ts';
import { type Placed, place, type Wanted } from '../../core/placement.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import { endUpload } from './ending.ts';
import type { ControlDb, UploadRow } from './ports.ts';

/** An inbound Copy before it has rows. Bytes. */
export interface Inbound {
  readonly uploadId: string;
  readonly taskId: string;
  readonly imageId: string;
  readonly owner: string;
  readonly purpose: UploadPurpose;
  readonly source: UploadSource;
  readonly task: { readonly kind: TaskKind; readonly status: string };
  readonly declaredSize: number | null;
  readonly reserved: number;
  readonly format: DeclaredFormat;
  readonly expectedDigest: Digest | null;
  readonly fingerprint: string | null;
  readonly store: StoreRecord;
  /** How often it was tried in vain before. */
  readonly tries: number;
}

/** Copy, Upload and Task, in the transaction that chose the Store under the Stores' locks. */
export async function insertInbound(context: Context, tx: ControlDb, inbound: Inbound): Promise<void> {
  const { uploadId, taskId, imageId, owner, store, task, declaredSize } = inbound;
  const copyId = context.randomId();
  await tx.images.insertCopy({ id: copyId, imageId, storeId: store.id, key: copyId });
  if (inbound.tries > 0) await tx.copies.setRetry(copyId, inbound.tries, null);
  await tx.uploads.insert({
    id: uploadId,
    imageId,
    copyId,
    taskId,
    generation: 1,
    purpose: inbound.purpose,
    source: inbound.source,
    declaredSize,
    reserved: inbound.reserved,
    format: inbound.format,
    expectedDigest: inbound.expectedDigest,
    fingerprint: inbound.fingerprint,
    storeId: store.id,
    key: copyId,
    owner,
    expireAfterSeconds: context.config.uploads.expireAfterSeconds,
  });
  await tx.tasks.insert({ id: taskId, ...task, imageId, uploadId, totalBytes: declaredSize, work: null, owner });
}

/** Chooses a Store under the Stores' locks, so that nothing is promised twice. Throws why there is none. */
export async function pickStore(context: Context, tx: ControlDb, wanted: Wanted): Promise<StoreRecord> {
  const placed = await placeCopy(context, tx, wanted);
  if (placed.kind === 'placed') return placed.store;
  throw placed.error;
}

export async function placeCopy(context: Context, tx: ControlDb, wanted: Wanted): Promise<Placed> {
  const stores = await tx.stores.lockAll();
  return place(stores, wanted, (hostId) => context.agents.has(hostId), context.chance);
}

/** What is left out: one Copy, anywhere. */
export function wholePlacement(some: Partial<Placement> | undefined): Placement {
  return { minCopies: 1, storeTags: [], hostTags: [], ...some };
}

/** The Stores' locks are held: of two that begin at once, the second one sees the first. */
export async function checkQuota(context: Context, tx: ControlDb, owner: string, wanted: number): Promise<void> {
  const quota = context.config.limits.userQuota;
  if (quota === null) return;
  const taken = await tx.images.takenBy(owner);
  if (taken + wanted <= quota) return;
  throw new HawserError(
    'quota-exceeded',
    `${wanted} bytes are wanted; the images of ${owner} take ${taken} of the ${quota} bytes that one user may have. Remove images, or ask for a larger quota.`,
    { details: { wanted, taken, quota } },
  );
}

export function checkSize(context: Context, size: number | undefined): void {
  const { maxSize } = context.config.uploads;
  if (maxSize === null || (size ?? 0) <= maxSize) return;
  throw new HawserError(
    'too-large',
    `At most ${maxSize} bytes are accepted here (uploads.maxSize); this one has ${size}.`,
    { details: { maxSize, size } },
  );
}

/** What an idempotency key belongs to: the same words from the same person are the same request. */
export interface Keyed {
  readonly user: string;
  readonly key: string | undefined;
  readonly digest: Digest | undefined;
  readonly words: Readonly<Record<string, unknown>>;
}

/** The Upload that the key stands for already, if any; else it stands for this one from now on. */
export async function claimKey(tx: ControlDb, keyed: Keyed, uploadId: string): Promise<string | undefined> {
  if (keyed.key === undefined) return undefined;
  const said = Object.entries({ ...keyed.words, digest: keyed.digest && formatDigest(keyed.digest) })
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const requestHash = createHash('sha256').update(JSON.stringify(said)).digest('hex');
  const found = await tx.uploads.claimKey({ owner: keyed.user, key: keyed.key, requestHash, uploadId });
  if (found === 'claimed') return undefined;
  if (found.requestHash === requestHash) return found.uploadId;
  throw new HawserError(
    'conflict',
    'This idempotency key was used for another upload request; use a new key for a new upload.',
    { details: { uploadId: found.uploadId } },
  );
}

/** Runs requests with the same key one after the other, here; other controls meet in the database. */
export class KeyQueue {
  readonly #running = new Map<string, Promise<unknown>>();

  async run<T>(user: string, key: string | undefined, perform: () => Promise<T>): Promise<T> {
    if (key === undefined) return perform();
    const name = `${user}\n${key}`;
    for (let earlier = this.#running.get(name); earlier !== undefined; earlier = this.#running.get(name)) await earlier;
    const mine = perform();
    const settled = mine.then(
      () => this.#running.delete(name),
      () => this.#running.delete(name),
    );
    this.#running.set(name, settled);
    return mine;
  }
}

/** Idempotent by id; used again for an Upload that its agent lost before any byte came. */
async function callOpen(context: Context, upload: UploadRow): Promise<void> {
  const { limits } = context.config;
  await context.agents.of(upload.hostId).call('openUpload', {
    uploadId: upload.id,
    generation: upload.generation,
    storeId: upload.storeId,
    key: upload.key,
    declaredSize: upload.declaredSize,
    maxSize: context.config.uploads.maxSize,
    reserve: upload.reserved,
    format: upload.format,
    rateLimit: { task: limits.taskRate, user: limits.userRate, userId: upload.owner },
    digests:
      upload.expectedDigest === null || upload.expectedDigest.algorithm === 'tree-sha256'
        ? []
        : [upload.expectedDigest.algorithm],
    image: { id: upload.imageId, name: upload.name },
  });
}

/**
 * The agent has nothing of it, and no byte of it was received: nothing is lost, it is opened again. Ends it when the
 * agent refuses; throws when the agent cannot be asked.
 */
export async function openAgain(context: Context, upload: UploadRow): Promise<void> {
  try {
    await callOpen(context, upload);
  } catch (error) {
    if (isUnreachable(error) || !isHawserError(error)) throw error;
    await endUpload(context, upload, { to: 'failed', status: error.message, cause: error.code, image: 'failed' });
  }
}

/** Nothing of an Upload that its agent did not open stays, but why. */
export async function openOnAgent(context: Context, upload: UploadRow, isNewImage: boolean): Promise<void> {
  try {
    await callOpen(context, upload);
  } catch (error) {
    const reason = toHawserError(error);
    const gone = isUnreachable(error) && isNewImage;
    await endUpload(context, upload, {
      to: 'failed',
      status: reason.message,
      cause: reason.code,
      image: gone ? 'deleted' : 'failed',
    });
    throw isHawserError(error) ? error : reason;
  }
}
