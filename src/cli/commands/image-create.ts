import { randomUUID } from 'node:crypto';
import type { ApiClient } from '../../client/api-client.ts';
import { nameFromUrl } from '../../client/url-text.ts';
import type { ImageCreate, ImageResource } from '../../contract/api/image.ts';
import { HawserError } from '../../core/errors.ts';
import { type Connected, connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findImage } from '../find-image.ts';
import { findStore } from '../find-place.ts';
import { formatOf } from '../format-option.ts';
import { type PlacementOptions, placementOf } from '../placement-options.ts';
import { type GlobalOptions, Interrupted, note, print, printJson } from '../terminal.ts';
import { formatBytes, printable } from '../text.ts';
import { follow } from './task.ts';

interface WaitOptions extends GlobalOptions {
  readonly wait: boolean;
}

export interface CreateOptions extends WaitOptions, PlacementOptions {
  readonly store?: string;
}

export interface ImportOptions extends CreateOptions {
  readonly digest?: string;
  readonly format?: string;
  readonly unpack?: boolean;
}

/** `hawser import URL [NAME]`: a storage host fetches it by itself. Resolves with the exit code. */
export async function importImage(url: string, name: string | undefined, options: ImportOptions): Promise<number> {
  const { digest, format, unpack = false } = options;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new HawserError('bad-request', 'Wanted: a URL that begins with http:// or https://.', {
      details: { next: 'A file of this machine is uploaded instead: hawser upload FILE.' },
    });
  }
  const guessed = name ?? nameFromUrl(url, { unpack });
  if (guessed === '') {
    throw new HawserError('bad-request', 'The URL has no part that could be the name of the image.', {
      details: { next: 'Give a name: hawser import URL NAME.' },
    });
  }
  return await connected(options, async (open) => {
    const origin = { kind: 'download', url, decompress: unpack ? 'auto' : 'none' } as const;
    return await create(
      open,
      {
        name: guessed,
        origin,
        ...(format === undefined ? {} : { format: formatOf(format) }),
        ...(digest === undefined ? {} : { digest }),
      },
      options,
    );
  });
}

/** `hawser image clone IMAGE NAME`. Resolves with the exit code. */
export async function cloneImage(text: string, name: string, options: CreateOptions): Promise<number> {
  return await connected(options, async (open) => {
    const { id } = await findImage(open.api, text, (image) => image.state === 'ready');
    return await create(open, { name, origin: { kind: 'clone', imageId: id } }, options);
  });
}

async function create({ api }: Connected, body: ImageCreate, options: CreateOptions): Promise<number> {
  const storeId = options.store === undefined ? undefined : (await findStore(api, options.store)).id;
  const placement = placementOf(options);
  const image = await api.createImage(
    { ...body, ...(storeId === undefined ? {} : { storeId }), ...(placement === undefined ? {} : { placement }) },
    randomUUID(),
  );
  return await followMade(api, image, options);
}

/** `hawser image fetch IMAGE`: a failed download or clone once more, in its place. Resolves with the exit code. */
export async function fetchImage(text: string, options: WaitOptions): Promise<number> {
  return await connected(options, async ({ api }) => {
    const { id } = await findImage(api, text, (image) => image.state === 'failed');
    return await followMade(api, await api.fetchImage(id), options);
  });
}

async function followMade(api: ApiClient, image: ImageResource, options: WaitOptions): Promise<number> {
  if (!options.wait || image.taskId === null) {
    if (options.json === true) printJson(image);
    else print(image.id);
    return exitCodes.ok;
  }
  try {
    const code = await follow(api, await api.task(image.taskId), options);
    if (code !== exitCodes.ok) {
      const id = image.id.slice(0, 8);
      note(
        `The image stays, failed. Once more: hawser image fetch ${id}. To remove it: hawser image rm ${id}`,
        options,
      );
      return code;
    }
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    const task = image.taskId.slice(0, 8);
    note(
      `It goes on without this command. Watch it: hawser task watch ${task}, stop it: hawser task cancel ${task}`,
      options,
    );
    return exitCodes.interrupted;
  }
  if (options.json === true) return exitCodes.ok;
  const ready = await api.image(image.id);
  note(`${printable(ready.name)}  ${formatBytes(ready.size ?? 0)}  ${ready.format}`, options);
  print(ready.id);
  return exitCodes.ok;
}
