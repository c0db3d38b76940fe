import type { Copy, Image, Upload } from '../../core/nouns.ts';
import type { CopyState } from '../../core/states.ts';
import type { Resource } from './collection.ts';

/** The state of one file of a backing image (`BackingImageState` in the original's code). */
export type BackingImageState =
  | 'pending'
  | 'starting'
  | 'in-progress'
  | 'ready-for-transfer'
  | 'ready'
  | 'failed'
  | 'failed-and-cleanup'
  | 'unknown';

const states = {
  pending: 'pending',
  'in-progress': 'in-progress',
  ready: 'ready',
  unknown: 'unknown',
  failed: 'failed',
  removing: 'failed-and-cleanup',
  removed: 'failed-and-cleanup',
} as const satisfies Record<CopyState, BackingImageState>;

/** What the seed calls them; `?action=NAME`. */
export const chunkActions = [
  'uploadServerStart',
  'chunkPrepare',
  'chunkUpload',
  'chunkCoalesce',
  'uploadServerClose',
] as const;

export interface BackingImageFacts {
  readonly image: Image;
  /** The Upload that fills it now. */
  readonly upload: Upload | undefined;
  /** `ip:port`, or nothing. */
  readonly uploadAddress: string;
  /** What it is called in URLs: its name, or its id while several have that name. */
  readonly id: string;
}

/** The state of a Copy in Longhorn's words. All bytes are there but are still compared: `ready-for-transfer`. */
export function fileStateOf(image: Pick<Image, 'state'>, copy: Pick<Copy, 'state'>): BackingImageState {
  if (image.state === 'verifying' && copy.state === 'in-progress') return 'ready-for-transfer';
  return states[copy.state];
}

/** The resource as shipped, with what the seed adds. docs/doors/longhorn.md has every name. */
export function backingImage(base: string, facts: BackingImageFacts): Resource & Readonly<Record<string, unknown>> {
  const { image, upload, uploadAddress, id } = facts;
  const self = `${base}/v1/backingimages/${encodeURIComponent(id)}`;
  const files = image.copies.map((copy) => fileOf(image, copy));
  const stateMap = byDisk(files, ({ state }) => state);
  const progressMap = byDisk(files, ({ progress }) => progress);
  const checksum = image.digests.find(({ algorithm }) => algorithm === 'sha512')?.hex ?? '';
  const expected = image.expectedDigest?.algorithm === 'sha512' ? image.expectedDigest.hex : '';
  return {
    id,
    type: 'backingImage',
    links: { self },
    actions: actionsOf(self, image, upload),
    name: image.name,
    uuid: image.id,
    sourceType: image.origin,
    parameters: parametersOf(image),
    expectedChecksum: expected,
    currentChecksum: checksum,
    size: image.size ?? image.declaredSize ?? 0,
    virtualSize: image.virtualSize ?? 0,
    realSize: image.copies.find(({ state }) => state === 'ready')?.storedSize ?? 0,
    minNumberOfCopies: image.placement.minCopies,
    diskSelector: image.placement.storeTags,
    nodeSelector: image.placement.hostTags,
    dataEngine: 'v1',
    secret: '',
    secretNamespace: '',
    deletionTimestamp: '',
    message: image.status,
    uploadAddress,
    diskFileStatusMap: Object.fromEntries(image.copies.map((copy) => [copy.storeId, shippedStatus(image, copy)])),
    diskFileStateMap: stateMap,
    diskFileHandlingProgressMap: progressMap,
    status: {
      uuid: image.id,
      ownerID: '',
      size: image.size ?? 0,
      uploadAddress,
      diskFileStateMap: stateMap,
      diskFileHandlingProgressMap: progressMap,
      backingImageFileMap: byDisk(files, (file) => file),
    },
  };
}

/** What the shipped API says of a file. */
function shippedStatus(image: Image, copy: Copy) {
  const { state, progress, message } = fileOf(image, copy);
  // In whole seconds, as the original tells it.
  const lastStateTransitionTime = copy.stateAt.toISOString().replace(/\.\d+/, '');
  return { dataEngine: 'v1', state, progress, message, lastStateTransitionTime };
}

/** `BackingImageFileInfo` of the seed. */
interface FileInfo {
  readonly diskUUID: string;
  readonly name: string;
  readonly uuid: string;
  readonly size: number;
  readonly nodeID: string;
  readonly diskName: string;
  readonly state: BackingImageState;
  readonly message: string;
  /** Percent. */
  readonly progress: number;
  readonly sendingReference: number;
  readonly senderManagerAddress: string;
}

function fileOf(image: Image, copy: Copy): FileInfo {
  const state = fileStateOf(image, copy);
  return {
    diskUUID: copy.storeId,
    name: image.name,
    uuid: image.id,
    size: image.size ?? image.declaredSize ?? 0,
    nodeID: copy.hostName,
    diskName: copy.storeName,
    state,
    message: copy.status === '' && copy.state !== 'ready' ? image.status : copy.status,
    progress: progressOf(image, copy),
    sendingReference: 0,
    senderManagerAddress: '',
  };
}

/** Never 100 before it is ready, and never 0 once there is a byte. */
function progressOf(image: Image, copy: Copy): number {
  if (copy.state === 'ready') return 100;
  const size = image.size ?? image.declaredSize;
  if (size === null || size === 0 || copy.doneBytes === 0) return 0;
  return Math.min(99, Math.max(1, Math.floor((copy.doneBytes / size) * 100)));
}

function byDisk<T>(files: readonly FileInfo[], value: (file: FileInfo) => T): Readonly<Record<string, T>> {
  return Object.fromEntries(files.map((file) => [file.diskUUID, value(file)]));
}

function parametersOf({ source }: Image): Readonly<Record<string, string>> {
  if (source.kind === 'url') return { url: source.url };
  return source.kind === 'copy' ? { 'backing-image': source.imageId, encryption: 'ignore' } : {};
}

function actionsOf(self: string, image: Image, upload: Upload | undefined): Readonly<Record<string, string>> {
  const sends = upload?.source.kind === 'client' && (upload.state === 'open' || upload.state === 'paused');
  const retries = image.origin === 'upload' && image.state === 'failed';
  const names = [
    ...(sends ? [...chunkActions, 'upload'] : retries ? ['uploadServerStart', 'upload'] : []),
    ...(image.copies.length > 0 ? ['backingImageCleanup'] : []),
    'updateMinNumberOfCopies',
  ];
  return Object.fromEntries(names.map((name) => [name, `${self}?action=${name}`]));
}
