import type { Context } from './context.ts';
import { endUpload, removeBytes, settle } from './ending.ts';

/** How long an idempotency key stands for its Upload. */
const KEY_SECONDS = 7 * 86_400;

/**
 * Ends Uploads that nobody fills any more, and tries again what an agent that was away could not be
 * told. Safe at any time and on several controls at once: every step is a compare-and-set or repeatable.
 */
export async function sweep(context: Context): Promise<void> {
  const { db } = context;
  for (const upload of await db.uploads.expired()) {
    // A clock that jumped says that it is late while bytes come in.
    if ((context.live.get(upload.id)?.connections ?? 0) > 0) continue;
    const { expireAfterSeconds } = context.config.uploads;
    const status = `The upload expired: nothing was received for ${spoken(expireAfterSeconds)}.`;
    await endUpload(context, upload, { to: 'expired', status, cause: 'expired', image: 'failed' });
  }
  await db.uploads.dropKeys(KEY_SECONDS);
  for (const upload of await db.uploads.withDuty()) {
    if (context.agents.has(upload.hostId)) await settle(context, upload);
  }
  for (const copy of await db.images.copiesToRemove()) {
    if (context.agents.has(copy.hostId)) await removeBytes(context, copy);
  }
}

function spoken(seconds: number): string {
  for (const [unit, length] of [
    ['days', 86_400],
    ['hours', 3_600],
    ['minutes', 60],
  ] as const) {
    if (seconds >= 2 * length) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${seconds} seconds`;
}
