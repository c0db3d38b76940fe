import { allOf } from '../../client/api-client.ts';
import { shownUrl } from '../../client/url-text.ts';
import type { ImageResource } from '../../contract/api/image.ts';
import type { TaskResource } from '../../contract/api/task.ts';
import { connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findImage } from '../find-image.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { formatBytes, printable, table } from '../text.ts';
import { placementText } from './image-copies.ts';
import { follow } from './task.ts';

export async function listImages(
  options: GlobalOptions & { readonly state?: string; readonly search?: string },
): Promise<void> {
  const { search, state } = options;
  const query = { ...(state === undefined ? {} : { state }), ...(search === undefined ? {} : { search }) };
  await connected(options, async ({ api }) => {
    const pages = allOf((cursor) => api.images({ ...query, limit: 500, ...(cursor === undefined ? {} : { cursor }) }));
    const images = await Array.fromAsync(pages);
    if (options.json === true) return printJson({ items: images });
    if (images.length === 0) return note('There are no images yet. Upload one: hawser upload FILE NAME', options);
    print(table(['ID', 'NAME', 'STATE', 'SIZE', 'STORED', 'FORMAT', 'CREATED'], images.map(imageRow), outWidth()));
  });
}

function imageRow(image: ImageResource): readonly string[] {
  const size = image.size ?? image.declaredSize;
  return [
    image.id.slice(0, 8),
    image.name,
    image.state,
    size === null ? '?' : formatBytes(size),
    image.storedSize === null ? '' : formatBytes(image.storedSize),
    image.format,
    image.createdAt.slice(0, 16).replace('T', ' '),
  ];
}

export async function showImage(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const image = await findImage(api, text);
    if (options.json === true) return printJson(image);
    const size = (bytes: number | null) => (bytes === null ? '' : `${bytes} (${formatBytes(bytes)})`);
    const facts: readonly (readonly [string, string])[] = [
      ['id', image.id],
      ['name', image.name],
      ['state', image.status === '' ? image.state : `${image.state}: ${image.status}`],
      ['format', image.format],
      ['size', size(image.size ?? image.declaredSize)],
      ['virtual size', size(image.virtualSize)],
      ['stored', size(image.storedSize)],
      ['origin', originText(image)],
      ['wants', placementText(image.placement)],
      ['owner', image.owner],
      ['created', image.createdAt],
      ['ready', image.readyAt ?? ''],
      ...image.digests.map((digest) => ['digest', digest] as const),
      ...image.copies.map(
        (copy) =>
          ['copy', `${copy.state} on ${copy.hostName}/${copy.storeName}${copy.status && `: ${copy.status}`}`] as const,
      ),
      ['upload', image.uploadId ?? ''],
      ['task', image.taskId ?? ''],
    ];
    for (const [label, value] of facts) if (value !== '') print(`${label.padEnd(13)} ${printable(value)}`);
  });
}

function originText({ origin, source }: ImageResource): string {
  if (source.kind === 'url') return `${origin} from ${shownUrl(source.url)}`;
  return origin === 'clone' && source.kind === 'copy' ? `clone of ${source.imageId}` : origin;
}

export async function removeImage(text: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const image = await findImage(api, text);
    await api.removeImage(image.id);
    if (options.json === true) printJson({ removed: image.id });
    else note(`${printable(image.name)} (${image.id}) was removed.`, options);
  });
}

export async function renameImage(text: string, name: string, options: GlobalOptions): Promise<void> {
  await connected(options, async ({ api }) => {
    const image = await findImage(api, text);
    const renamed = await api.changeImage(image.id, { name });
    if (options.json === true) printJson(renamed);
    else note(`${printable(image.name)} is ${printable(renamed.name)} now.`, options);
  });
}

type Waiting = GlobalOptions & { readonly wait: boolean };

export async function verifyImage(text: string, options: Waiting): Promise<number> {
  return await connected(options, async ({ api }) => {
    const image = await findImage(api, text, (each) => each.state === 'ready');
    const task = await api.verifyImage(image.id);
    if (!options.wait) return begun(task, options);
    return await follow(api, task, options);
  });
}

export async function digestImage(
  text: string,
  options: Waiting & { readonly algorithm: 'sha256' | 'sha512' | 'md5' },
): Promise<number> {
  return await connected(options, async ({ api }) => {
    const image = await findImage(api, text, (each) => each.state === 'ready');
    const known = image.digests.find((digest) => digest.startsWith(`${options.algorithm}:`));
    if (known === undefined) {
      const task = await api.digestImage(image.id, options.algorithm);
      if (!options.wait) return begun(task, options);
      const code = await follow(api, task, { ...options, json: false });
      if (code !== exitCodes.ok) return code;
    }
    const { digests } = known === undefined ? await api.image(image.id) : image;
    const digest = digests.find((each) => each.startsWith(`${options.algorithm}:`)) ?? '';
    if (options.json === true) printJson({ imageId: image.id, digest });
    else print(digest);
    return exitCodes.ok;
  });
}

function begun(task: TaskResource, options: GlobalOptions): number {
  if (options.json === true) printJson(task);
  else print(task.id);
  return exitCodes.ok;
}
