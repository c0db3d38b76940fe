import type { ImageResource } from '../contract/api/image.ts';
import type { UploadRequest, UploadResource } from '../contract/api/upload.ts';
import { HawserError, isHawserError } from '../core/errors.ts';
import { allOf } from './api-client.ts';
import { refuseEnded } from './delivery.ts';
import type { Patience } from './patience.ts';
import type { UploadOptions } from './upload-options.ts';

/** `there`: finished before, and its Image is ready. */
export type Found =
  | { readonly kind: 'begun' | 'resumed'; readonly upload: UploadResource }
  | { readonly kind: 'there'; readonly upload: UploadResource; readonly image: ImageResource };

/**
 * The Upload to send to: the one that was named, an unfinished one with the same name, size and
 * fingerprint, one that is finished already, or a new one. A paused one is resumed.
 */
export async function findOrBegin(options: UploadOptions, patience: Patience, signal: AbortSignal): Promise<Found> {
  const { api, uploadId, restart = false } = options;
  if (uploadId !== undefined) {
    const upload = await patience.persist(() => api.upload(uploadId, signal), passesByItself);
    refuseEnded(upload);
    refuseOtherSize(upload, options);
    return await opened(upload, options, patience);
  }
  const known = await unfinishedOf(options, patience, signal);
  if (!restart) {
    const unfinished = known.find((upload) => upload.state !== 'sealed');
    if (unfinished !== undefined) return await opened(unfinished, options, patience);
    for (const upload of known) {
      const image = await patience.persist(() => imageOf(upload, options, signal), passesByItself);
      if (image !== null) return { kind: 'there', upload, image };
    }
  } else for (const upload of known) if (upload.state !== 'sealed') await api.cancelUpload(upload.id);
  return { kind: 'begun', upload: await begin(options, patience, signal) };
}

async function unfinishedOf(
  options: UploadOptions,
  patience: Patience,
  signal: AbortSignal,
): Promise<readonly UploadResource[]> {
  const { api, name, source } = options;
  const wanted = { name, fingerprint: source.fingerprint, limit: 100 };
  const found: UploadResource[] = [];
  const pages = allOf((cursor) => {
    const query = { ...wanted, ...(cursor === undefined ? {} : { cursor }) };
    return patience.persist(() => api.uploads(query, signal), passesByItself);
  });
  for await (const upload of pages) {
    const same = upload.name === name && upload.fingerprint === source.fingerprint;
    const ours = upload.purpose === 'fill' && upload.source.kind === 'client';
    const lives = ['open', 'paused', 'finishing'].includes(upload.state);
    const finished = upload.state === 'sealed' && source.kind === 'file';
    if (same && ours && upload.declaredSize === source.size && (lives || finished)) found.push(upload);
  }
  return found;
}

async function opened(upload: UploadResource, options: UploadOptions, patience: Patience): Promise<Found> {
  const { api, signal } = options;
  if (upload.state !== 'paused') return { kind: 'resumed', upload };
  await patience.persist(() => api.actOnTask(upload.taskId, 'resume', signal));
  return { kind: 'resumed', upload: await patience.persist(() => api.upload(upload.id, signal)) };
}

async function imageOf(upload: UploadResource, options: UploadOptions, signal: AbortSignal) {
  try {
    const image = await options.api.image(upload.imageId, signal);
    return image.state === 'ready' && image.size === options.source.size ? image : null;
  } catch (error) {
    if (isHawserError(error, 'not-found')) return null;
    throw error;
  }
}

function begin(options: UploadOptions, patience: Patience, signal: AbortSignal): Promise<UploadResource> {
  const { api, dataSize, digest, format, imageId, name, newId, placement, source, storeId } = options;
  const request: UploadRequest = {
    name,
    fingerprint: source.fingerprint,
    ...(source.size === null ? {} : { size: source.size }),
    ...(dataSize === undefined ? {} : { dataSize }),
    ...(format === undefined ? {} : { format }),
    ...(digest === undefined ? {} : { digest }),
    ...(storeId === undefined ? {} : { storeId }),
    ...(imageId === undefined ? {} : { imageId }),
    ...(placement === undefined ? {} : { placement }),
  };
  const key = newId();
  // A full store is said at once: nothing was sent yet and a person may choose another one.
  return patience.persist(() => api.beginUpload(request, key, signal), passesByItself);
}

function passesByItself({ code }: HawserError): boolean {
  return code === 'unavailable' || code === 'too-many';
}

function refuseOtherSize(upload: UploadResource, { source }: UploadOptions): void {
  if (upload.declaredSize === source.size) return;
  throw new HawserError(
    'source-changed',
    `The upload ${upload.id} of "${upload.name}" was begun for ${upload.declaredSize ?? 'an unknown number of'} bytes; this source has ${source.size ?? 'an unknown number of'} bytes.`,
    { details: { next: 'Give the file that it was begun with, or begin anew (--restart).' } },
  );
}
