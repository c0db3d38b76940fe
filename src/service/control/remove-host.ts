import { HawserError } from '../../core/errors.ts';
import type { Actor, Host } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { endUpload } from './ending.ts';
import { failWork } from './work.ts';

/**
 * Takes a host out. With `force` also one that holds Copies: they are lost for good then, and Images that
 * have no other say so.
 */
export async function removeHost(
  context: Context,
  actor: Actor,
  { host, force }: { readonly host: Host; readonly force: boolean },
): Promise<void> {
  const { db } = context;
  if (host.state === 'online') {
    throw new HawserError('conflict', `The host ${host.name} is online. Stop its agent first.`);
  }
  const uploads = await db.uploads.liveOn(host.id);
  if (!force && (host.copyCount > 0 || uploads.length > 0)) {
    throw new HawserError(
      'conflict',
      `The host ${host.name} still counts for ${host.copyCount} copies and ${uploads.length} unfinished uploads. Drain it first (evicting); or, if its bytes are lost for good, remove it with force.`,
      { details: { copies: host.copyCount, uploads: uploads.length } },
    );
  }
  const status = `The host ${host.name} was taken out by ${actor.user}; what was on it is lost.`;
  for (const upload of uploads) {
    await endUpload(context, upload, { to: 'failed', status, cause: 'store-failed', image: 'failed' });
  }
  for (const task of await db.tasks.withWorkOn(host.id)) {
    if (task.endedAt === null) await failWork(context, task, { code: 'store-failed', message: status });
  }
  const images = new Set<string>();
  for (const { id, imageId } of await db.hosts.copies(host.id)) {
    images.add(imageId);
    await loseCopy(context, { id, imageId }, status);
  }
  await db.hosts.remove(host.id);
  await db.audit.append({
    actor: actor.user,
    action: 'host.remove',
    subject: host.id,
    detail: { name: host.name, force, copies: host.copyCount },
  });
  context.log.warn({ event: 'host.removed', hostId: host.id, name: host.name, copies: host.copyCount });
  context.changes.touch('host', host.id);
  context.tend();
  for (const imageId of images) context.changes.touch('image', imageId);
}

/** The Copy, and its Image when no other Copy has its bytes. */
async function loseCopy(
  { db }: Context,
  { id, imageId }: { readonly id: string; readonly imageId: string },
  status: string,
): Promise<void> {
  await db.transaction(async (tx) => {
    const image = await tx.images.lock(imageId);
    await tx.move('copies', id, 'removing', { status });
    await tx.move('copies', id, 'removed', { status });
    const holds = image?.copies.some((copy) => copy.id !== id && (copy.state === 'ready' || copy.state === 'unknown'));
    if (image?.state === 'ready' && holds !== true) await tx.move('images', imageId, 'failed', { status });
  });
}
