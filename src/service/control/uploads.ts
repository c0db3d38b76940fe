import { HawserError } from '../../core/errors.ts';
import type { Actor, Upload } from '../../core/nouns.ts';
import { createBegin } from './begin.ts';
import type { Context } from './context.ts';
import { afterCancel } from './copies-pull.ts';
import { endUpload } from './ending.ts';
import { createFinish } from './finish.ts';
import { targetOf } from './receiving.ts';
import type { Tickets } from './tickets.ts';
import type { UploadUseCases } from './use-cases.ts';
import { ownerFilter, uploadView, visible } from './views.ts';

export function createUploads(context: Context, tickets: Tickets): UploadUseCases {
  const { db } = context;
  const find = async (actor: Actor, id: string) => visible(actor, await db.uploads.find(id), 'upload');
  return {
    begin: createBegin(context),
    finish: createFinish(context),
    list: async (actor, query) => {
      const page = await db.uploads.list(query, ownerFilter(actor));
      return { ...page, items: page.items.map((row): Upload => uploadView(context, row)) };
    },
    get: async (actor, id) => uploadView(context, await find(actor, id)),
    target: async (actor, id, op) => targetOf(await find(actor, id), op),
    access: async (actor, id) => {
      const upload = await find(actor, id);
      targetOf(upload, 'write');
      return tickets.install(upload.hostId, { kind: 'upload', uploadId: id }, ['read', 'write']);
    },
    cancel: async (actor, id) => {
      const upload = await find(actor, id);
      const done = await endUpload(context, upload, {
        to: 'cancelled',
        status: `Cancelled by ${actor.user}`,
        cause: 'user',
        image: 'deleted',
        retry: upload.purpose === 'copy' ? { tries: 0, at: afterCancel(context.now()) } : undefined,
      });
      if (done) {
        await db.audit.append({ actor: actor.user, action: 'upload.cancel', subject: id });
        await tickets.revoke(upload.hostId, id);
        return;
      }
      if ((await find(actor, id)).state !== 'sealed') return;
      throw new HawserError('conflict', 'The upload is finished already; remove the image instead.');
    },
  };
}
