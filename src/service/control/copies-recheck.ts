import type { CopyReport } from '../../contract/link.ts';
import { copyStoreTitle } from '../../core/store-title.ts';
import { isUnreachable } from './agents.ts';
import type { Context } from './context.ts';
import { loseCopy } from './copies-guard.ts';
import type { CopyToCheck } from './copy-ports.ts';
import { touchPlace } from './views.ts';
import { verifyCopy } from './work.ts';

const MOST = 1000;

export interface Recheck {
  readonly hostId: string;
  readonly before: Date;
  readonly at: Date;
  readonly signal: AbortSignal;
}

/**
 * Looks at the Copies of a host that were not looked at since `before` (at the latest `at`, which is now by the
 * database): whether they are there, and as they were when they were sealed. False when the agent could not be asked.
 */
export async function recheckHost(context: Context, { hostId, before, at, signal }: Recheck): Promise<boolean> {
  const { db, agents } = context;
  for (;;) {
    const copies = await db.copies.toCheck(hostId, { before, at }, MOST);
    if (copies.length === 0) return true;
    const asked = copies.map(({ storeId, key }) => ({ storeId, key }));
    let reports: readonly CopyReport[];
    try {
      ({ copies: reports } = await agents.of(hostId).call('describeCopies', { copies: asked }, signal));
    } catch (error) {
      if (isUnreachable(error) || signal.aborted) return false;
      throw error;
    }
    for (const [index, copy] of copies.entries()) {
      const report = reports[index];
      if (report !== undefined) await judge(context, copy, report);
    }
    // Not before `before`: each is looked at once.
    const ids = copies.map((copy) => copy.id);
    await db.copies.setChecked(ids, at);
    if (copies.length < MOST) return true;
  }
}

async function judge(context: Context, copy: CopyToCheck, report: CopyReport): Promise<void> {
  if (copy.state === 'failed') return report.state === 'sealed' ? cameBack(context, copy, report) : undefined;
  switch (report.state) {
    case 'sealed':
      if (report.fingerprint === copy.fingerprint) return foundGood(context, copy);
      return verifyCopy(context, copy.imageId, copy.id, report.fingerprint);
    case 'absent':
    case 'writing':
      return lost(context, copy);
    case 'unreachable':
      return change(context, copy, `The ${copyStoreTitle(copy)} cannot be read now.`);
  }
}

/** Its file was gone: what lies there now is compared with what was there before it counts again. */
async function cameBack(context: Context, copy: CopyToCheck, { fingerprint }: CopyReport): Promise<void> {
  const back = await context.db.transaction(async (tx) => {
    const image = await tx.images.lock(copy.imageId);
    // One that is just filled anew does not need it, and removes it in the end.
    if (image?.state !== 'ready' && image?.state !== 'failed') return false;
    const status = 'Its file is there again; it is being compared.';
    if (!(await tx.move('copies', copy.id, 'unknown', { from: ['failed'], status }))) return false;
    await tx.copies.setAbsent(copy.id, false);
    return true;
  });
  if (!back) return;
  tell(context, copy, 'copy.reappeared');
  await verifyCopy(context, copy.imageId, copy.id, fingerprint);
}

async function foundGood(context: Context, copy: CopyToCheck): Promise<void> {
  if (copy.state !== 'unknown') return;
  const { db } = context;
  const back = await db.transaction(async (tx) => {
    await tx.images.lock(copy.imageId);
    return tx.move('copies', copy.id, 'ready', { from: ['unknown'], status: '' });
  });
  if (back) tell(context, copy, 'copy.back');
}

async function change(context: Context, copy: CopyToCheck, status: string): Promise<void> {
  const { db } = context;
  const moved = await db.transaction(async (tx) => {
    await tx.images.lock(copy.imageId);
    return tx.move('copies', copy.id, 'unknown', { from: ['ready'], status });
  });
  if (moved) tell(context, copy, 'copy.unknown');
}

async function lost(context: Context, copy: CopyToCheck): Promise<void> {
  const status = `The copy in ${copyStoreTitle(copy)} is gone: its file is not there any more.`;
  const moved = await context.db.transaction(async (tx) => {
    const image = await tx.images.lock(copy.imageId);
    if (image === undefined || !(await loseCopy(tx, image, copy.id, status))) return false;
    await tx.copies.setAbsent(copy.id, true);
    return true;
  });
  if (moved) tell(context, copy, 'copy.lost');
}

function tell(context: Context, copy: CopyToCheck, event: string): void {
  context.log.warn({ event, imageId: copy.imageId, copyId: copy.id, storeId: copy.storeId });
  context.changes.touch('image', copy.imageId);
  touchPlace(context, copy);
  context.tend();
}
