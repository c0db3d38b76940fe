import { type ApiClient, allOf } from '../client/api-client.ts';
import type { ImageResource } from '../contract/api/image.ts';
import type { TaskResource } from '../contract/api/task.ts';
import { HawserError, isHawserError } from '../core/errors.ts';
import { formatBytes } from './text.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const prefix = /^[0-9a-f][0-9a-f-]{3,}$/i;

/**
 * The Image that `text` names: an id, a name, or the beginning of an id (4 letters at least). Throws
 * `not-found`, and `name-ambiguous` with the list when several fit.
 */
export async function findImage(
  api: ApiClient,
  text: string,
  fits: (image: ImageResource) => boolean = () => true,
): Promise<ImageResource> {
  if (uuid.test(text)) return await api.image(text);
  const named = await imagesOf(api, { name: text });
  const alive = named.filter((image) => image.state !== 'deleted' && image.name === text);
  const fitting = alive.filter(fits);
  const candidates = fitting.length > 0 ? fitting : alive;
  if (candidates.length > 0) return onlyOne(text, candidates);
  if (prefix.test(text)) {
    const all = await imagesOf(api, {});
    const begun = all.filter((image) => image.id.startsWith(text.toLowerCase()));
    if (begun.length > 0) return onlyOne(text, begun);
  }
  throw new HawserError('not-found', `There is no image called "${text}", and no id begins with that.`, {
    details: { next: 'hawser image ls shows what there is.' },
  });
}

/** The Task with this id or unique beginning of one, or the Task of the Image that is named so. */
export async function findTask(api: ApiClient, text: string): Promise<TaskResource> {
  if (uuid.test(text)) return await api.task(text);
  if (prefix.test(text)) {
    const begun: TaskResource[] = [];
    const pages = allOf((cursor) => api.tasks({ limit: 500, ...(cursor === undefined ? {} : { cursor }) }));
    for await (const task of pages) if (task.id.startsWith(text.toLowerCase())) begun.push(task);
    const [first, ...more] = begun;
    if (first !== undefined && more.length === 0) return first;
    if (first !== undefined) {
      const list = begun.map((task) => `  ${task.id}  ${task.kind}  ${task.state}`).join('\n');
      throw new HawserError('name-ambiguous', `Several tasks begin with "${text}":\n${list}`);
    }
  }
  const image = await findImage(api, text).catch((error: unknown) => {
    if (!isHawserError(error, 'not-found')) throw error;
    throw new HawserError('not-found', `There is no task "${text}", and no image of that name.`, {
      details: { next: 'hawser task ls shows what there is.' },
    });
  });
  if (image.taskId !== null) return await api.task(image.taskId);
  throw new HawserError('not-found', `The image "${image.name}" has no task.`);
}

async function imagesOf(api: ApiClient, query: { readonly name?: string }): Promise<readonly ImageResource[]> {
  return await Array.fromAsync(
    allOf((cursor) => api.images({ ...query, limit: 500, ...(cursor === undefined ? {} : { cursor }) })),
  );
}

function onlyOne(text: string, images: readonly ImageResource[]): ImageResource {
  const [first, ...more] = images;
  if (first !== undefined && more.length === 0) return first;
  const list = images.map(
    (image) => `  ${image.id}  ${image.state}  ${formatBytes(image.size ?? 0)}  ${image.createdAt}  ${image.name}`,
  );
  throw new HawserError('name-ambiguous', `Several images are called "${text}":\n${list.join('\n')}`, {
    details: { next: 'Give the id, or enough of its beginning.' },
  });
}
