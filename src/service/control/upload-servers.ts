import { HawserError } from '../../core/errors.ts';
import type { Actor } from '../../core/nouns.ts';
import { sizeTextBeside } from '../../core/size-text.ts';
import { storeTitle } from '../../core/store-title.ts';
import type { Context } from './context.ts';
import { endUpload } from './ending.ts';
import type { ControlDb, UploadRow, UploadServerPlace } from './ports.ts';
import { targetOf } from './receiving.ts';
import { touchUpload, visible } from './views.ts';

/** Upload servers take Uploads in numbered chunks, one server each, on the host that keeps the bytes. */
export interface UploadServerUseCases {
  /** Where they are, `ip:port` by Upload; of live ones that have one. */
  addresses(uploadIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /**
   * Where the one of this Upload is; launched when there is none. Of a sealed one as long as it was not closed. Throws
   * what the state of the Upload says.
   */
  place(actor: Actor, uploadId: string): Promise<UploadServerPlace>;
  /** Where it was launched last, unless it was closed; whatever became of the Upload. */
  recorded(actor: Actor, uploadId: string): Promise<UploadServerPlace | undefined>;
  /** Has the host launch it (again) and records where it is. */
  launch(actor: Actor, uploadId: string): Promise<UploadServerPlace>;
  /** It was closed by its client. */
  closed(actor: Actor, uploadId: string): Promise<void>;
  /**
   * The size of an Upload that was begun without one, with its space reserved. Repeatable; another size is
   * `size-mismatch` once there is data. Throws `store-full`, `quota-exceeded`. `given up`: nothing has come yet and
   * there is room on other Stores only; the Image has failed and is begun again with its size.
   */
  setSize(actor: Actor, uploadId: string, size: number): Promise<'set' | 'given up'>;
}

export function createUploadServers(context: Context): UploadServerUseCases {
  const { db } = context;
  const find = async (actor: Actor, id: string) => visible(actor, await db.uploads.find(id), 'upload');
  const launch = async (actor: Actor, uploadId: string) => {
    const upload = await find(actor, uploadId);
    targetOf(upload, 'read');
    const link = context.agents.of(upload.hostId);
    const found = await link.call('launchUploadServer', { uploadId, generation: upload.generation });
    if (!/^[0-9A-Za-z._:-]+$/.test(found.address)) {
      throw new HawserError('unavailable', 'The host names no address for its upload server. Look at its dataUrl.');
    }
    const address = `${found.address.includes(':') ? `[${found.address}]` : found.address}:${found.port}`;
    await db.uploadServers.save(uploadId, address);
    context.log.info({ event: 'upload-server.launched', uploadId, address });
    touchUpload(context, upload);
    const place = await db.uploadServers.placeOf(uploadId);
    if (place !== undefined) return place;
    throw new HawserError(
      'unavailable',
      'Another host has just named the address of this upload server; send on again.',
    );
  };
  return {
    addresses: (uploadIds) => db.uploadServers.addresses(uploadIds),
    launch,
    place: async (actor, uploadId) => {
      const upload = await find(actor, uploadId);
      const recorded = await db.uploadServers.placeOf(uploadId);
      if (upload.state === 'sealed' && recorded !== undefined) return recorded;
      targetOf(upload, 'read');
      return recorded ?? launch(actor, uploadId);
    },
    recorded: async (actor, uploadId) => db.uploadServers.placeOf((await find(actor, uploadId)).id),
    closed: async (actor, uploadId) => {
      const upload = await find(actor, uploadId);
      await db.uploadServers.remove(uploadId);
      touchUpload(context, upload);
    },
    setSize: async (actor, uploadId, size) => {
      const upload = await find(actor, uploadId);
      if (upload.declaredSize === size) return 'set';
      targetOf(upload, 'write');
      const refusal = await db.transaction((tx) => setSize(context, tx, upload, size));
      touchUpload(context, upload);
      if (refusal === undefined) return 'set';
      if (!refusal.elsewhere) throw refusal.error;
      const { message: status, code: cause } = refusal.error;
      await endUpload(context, upload, { to: 'failed', status, cause, image: 'failed' });
      return 'given up';
    },
  };
}

/** `elsewhere`: nothing has come yet, and another Store has the room. */
interface NoRoom {
  readonly error: HawserError;
  readonly elsewhere: boolean;
}

/** In the transaction that holds the locks of its Image and, after it, of the Stores, so that nothing is promised twice. */
async function setSize(context: Context, db: ControlDb, before: UploadRow, size: number): Promise<NoRoom | undefined> {
  const { maxSize } = context.config.uploads;
  if (maxSize !== null && size > maxSize) {
    throw new HawserError(
      'too-large',
      `At most ${maxSize} bytes are accepted here (uploads.maxSize); this one has ${size}.`,
    );
  }
  await db.images.lock(before.imageId);
  const stores = await db.stores.lockAll();
  const upload = await db.uploads.find(before.id);
  if (upload === undefined || upload.declaredSize === size) return undefined;
  targetOf(upload, 'write');
  const live = context.live.get(upload.id);
  const received = Math.max(upload.receivedBytes, live?.receivedBytes ?? 0);
  if (upload.declaredSize !== null && received > 0) {
    throw new HawserError(
      'size-mismatch',
      `The upload has ${upload.declaredSize} bytes in all, and ${received} of them were received; ${size} is another size. Nothing was changed; remove the image to upload another file.`,
    );
  }
  await mustBeWithinQuota(context, db, upload, size);
  const store = stores.find(({ id }) => id === upload.storeId);
  const room = store === undefined ? 0 : store.free - store.reserved + upload.reserved;
  if (room < size) {
    const others = stores.filter((other) => other.enabled && other.state === 'online' && other.id !== upload.storeId);
    return {
      error: noRoom(size, Math.max(0, room), store === undefined ? 'its store' : storeTitle(store)),
      elsewhere: received === 0 && others.some((other) => other.free - other.reserved >= size),
    };
  }
  await db.uploadServers.setSize(upload.id, size);
  return undefined;
}

function noRoom(wanted: number, room: number, store: string): HawserError {
  return new HawserError(
    'store-full',
    `No room in ${store}: wanted ${sizeTextBeside(wanted, room)}, free ${sizeTextBeside(room, wanted)}. Remove images there or add space.`,
    { details: { wanted, room } },
  );
}

async function mustBeWithinQuota(context: Context, db: ControlDb, upload: UploadRow, size: number): Promise<void> {
  const quota = context.config.limits.userQuota;
  if (quota === null) return;
  const taken = (await db.images.takenBy(upload.owner)) - upload.reserved;
  if (taken + size <= quota) return;
  throw new HawserError(
    'quota-exceeded',
    `${size} bytes are wanted; the images of ${upload.owner} take ${taken} of the ${quota} bytes that one user may have. Remove images, or ask for a larger quota.`,
    { details: { wanted: size, taken, quota } },
  );
}
