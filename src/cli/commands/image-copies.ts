import type { ImageResource } from '../../contract/api/image.ts';
import { HawserError } from '../../core/errors.ts';
import { connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findImage } from '../find-image.ts';
import { findStore } from '../find-place.ts';
import { type PlacementOptions, placementOf } from '../placement-options.ts';
import { type GlobalOptions, note, outWidth, print, printJson } from '../terminal.ts';
import { formatBytes, percent, printable, table } from '../text.ts';
import { follow } from './task.ts';

export interface CopiesOptions extends GlobalOptions {
  readonly add?: boolean;
  readonly store?: string;
  readonly remove?: readonly string[];
  readonly wait: boolean;
}

type Copy = ImageResource['copies'][number];

/** `hawser image copies IMAGE`: lists them, adds one, or removes some (all or none). */
export async function imageCopies(text: string, options: CopiesOptions): Promise<number> {
  const { add = false, remove = [], store } = options;
  if (store !== undefined && !add) {
    throw new HawserError('bad-request', '--store says where the copy goes that --add makes; give both.');
  }
  if (add && remove.length > 0) {
    throw new HawserError(
      'bad-request',
      'Either --add or --remove. To move a copy, add one first and then remove the other.',
    );
  }
  return await connected(options, async ({ api }) => {
    const image = await findImage(api, text);
    if (add) {
      const storeId = store === undefined ? undefined : (await findStore(api, store)).id;
      const task = await api.addCopy(image.id, storeId);
      if (options.wait) return await follow(api, task, options);
      if (options.json === true) printJson(task);
      else print(task.id);
      return exitCodes.ok;
    }
    const shown = remove.length === 0 ? image : await api.cleanup(image.id, idsOf(image, remove));
    if (options.json === true) printJson({ imageId: shown.id, placement: shown.placement, copies: shown.copies });
    else showCopies(shown, options);
    return exitCodes.ok;
  });
}

export async function setImage(text: string, options: GlobalOptions & PlacementOptions): Promise<void> {
  const placement = placementOf(options);
  if (placement === undefined) {
    throw new HawserError('bad-request', 'Nothing to set. Give --min-copies, --store-tag or --host-tag.');
  }
  await connected(options, async ({ api }) => {
    const image = await api.changeImage((await findImage(api, text)).id, { placement });
    if (options.json === true) printJson(image);
    else note(`${printable(image.name)}: ${placementText(image.placement)}.`, options);
  });
}

/** `at least 2 copies, on stores tagged ssd, on hosts tagged row-1`. */
export function placementText({ hostTags, minCopies, storeTags }: ImageResource['placement']): string {
  const where = [
    storeTags.length === 0 ? '' : `on stores tagged ${storeTags.join(' and ')}`,
    hostTags.length === 0 ? '' : `on hosts tagged ${hostTags.join(' and ')}`,
  ];
  return [`at least ${minCopies} ${minCopies === 1 ? 'copy' : 'copies'}`, ...where]
    .filter((text) => text !== '')
    .join(', ');
}

function showCopies(image: ImageResource, options: GlobalOptions): void {
  const size = image.size ?? image.declaredSize;
  const rows = image.copies.map((copy) => [
    copy.id.slice(0, 8),
    copy.hostName,
    copy.storeName,
    copy.state,
    copy.storedSize === null ? percent(copy.doneBytes, size) : formatBytes(copy.storedSize),
    copy.status,
  ]);
  note(`${printable(image.name)} wants ${placementText(image.placement)}.`, options);
  print(table(['ID', 'HOST', 'STORE', 'STATE', 'STORED', 'STATUS'], rows, outWidth()));
  for (const { guard, id } of image.copies) {
    if (guard !== null) note(`${id.slice(0, 8)} stays: ${printable(guard)}`, options);
  }
}

/** Each text is the id of a Copy, the beginning of one, or the name of its Store (or `host/store`). */
function idsOf(image: ImageResource, texts: readonly string[]): readonly string[] {
  return texts.map((text) => {
    const names = ({ hostName, id, storeName }: Copy) => [id, storeName, `${hostName}/${storeName}`];
    const alive = image.copies.filter(({ state }) => state !== 'removed');
    const exact = alive.filter((copy) => names(copy).includes(text));
    const begun = text.length < 4 ? [] : alive.filter(({ id }) => id.startsWith(text.toLowerCase()));
    const fitting = exact.length > 0 ? exact : begun;
    const [first, ...more] = fitting;
    if (first !== undefined && more.length === 0) return first.id;
    const list = (first === undefined ? alive : fitting)
      .map(({ hostName, id, state, storeName }) => `  ${id}  ${state} on ${printable(`${hostName}/${storeName}`)}`)
      .join('\n');
    const next = { details: { next: `hawser image copies ${image.id} shows them.` } };
    if (first === undefined) {
      throw new HawserError('not-found', `"${image.name}" has no copy "${text}". It has:\n${list}`, next);
    }
    throw new HawserError('name-ambiguous', `Several copies fit "${text}":\n${list}`, next);
  });
}
