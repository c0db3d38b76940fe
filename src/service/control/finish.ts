import type { UploadReport } from '../../contract/link.ts';
import { type Digest, type DigestAlgorithm, digestAlgorithms, formatDigest } from '../../core/digest.ts';
import { HawserError, isErrorCode, isHawserError } from '../../core/errors.ts';
import type { Actor, Image, Upload } from '../../core/nouns.ts';
import type { Context } from './context.ts';
import { endUpload, settle } from './ending.ts';
import type { ControlDb, UploadRow, Work } from './ports.ts';
import { endedError, fetchedError } from './receiving.ts';
import type { FinishUpload } from './use-cases.ts';
import { imageView, touchUpload, uploadView, visible } from './views.ts';
import { mismatch, startWork } from './work.ts';

type Finished = { readonly upload: Upload; readonly image: Image };

/**
 * Finishes Uploads. Every step may be repeated: many callers, here and on other controls, and a retry
 * after a crash all end in the same answer.
 */
export function createFinish(context: Context): (actor: Actor, id: string, request: FinishUpload) => Promise<Finished> {
  const running = new Map<string, Promise<void>>();
  return async (actor, id, request) => {
    const upload = visible(actor, await context.db.uploads.find(id), 'upload');
    if (upload.source.kind !== 'client') throw fetchedError();
    if (upload.state === 'sealed') return answer(context, id, request);
    const image = await context.db.images.find(upload.imageId);
    const expected = expectations(request, image?.expectedDigest ?? null);
    const key = `${id} ${request.size ?? ''} ${expected.map(formatDigest).join(' ')}`;
    let mine = running.get(key);
    if (mine === undefined) {
      mine = seal(context, upload, request, expected)
        .then(() => context.db.audit.append({ actor: actor.user, action: 'upload.finish', subject: id }))
        .finally(() => running.delete(key));
      running.set(key, mine);
    }
    await mine;
    return answer(context, id, request);
  };
}

/** Finishes what an agent has fetched whole, as a client would. Repeatable. */
export async function sealFetched(context: Context, upload: UploadRow, report: UploadReport): Promise<void> {
  const { source, expectedDigest } = upload;
  const from = source.kind === 'copy' ? await context.db.images.find(source.imageId) : undefined;
  const tree = from?.digests.find((digest) => !isFlat(digest));
  const expected = [expectedDigest, tree].filter((digest) => digest != null);
  const size = upload.declaredSize ?? report.declaredSize ?? report.receivedBytes;
  await seal(context, upload, { size }, expected);
}

/** What begin and finish declared. Throws when they contradict each other. */
function expectations(request: FinishUpload, atBegin: Digest | null): readonly Digest[] {
  const now = request.digest;
  if (now === undefined) return atBegin === null ? [] : [atBegin];
  if (atBegin === null) return [now];
  if (atBegin.algorithm === now.algorithm) {
    if (atBegin.hex === now.hex) return [now];
    throw new HawserError(
      'digest-mismatch',
      `The upload began with ${formatDigest(atBegin)} and is finished with ${formatDigest(now)}; one of them is wrong.`,
    );
  }
  if (isFlat(atBegin) && isFlat(now)) {
    throw new HawserError(
      'bad-request',
      `The upload began with a ${atBegin.algorithm} digest; finish it with that, with tree-sha256 or with none.`,
    );
  }
  return [atBegin, now];
}

function isFlat(digest: Digest): boolean {
  return digest.algorithm !== 'tree-sha256';
}

async function seal(
  context: Context,
  upload: UploadRow,
  request: FinishUpload,
  expected: readonly Digest[],
): Promise<void> {
  const { db } = context;
  const link = context.agents.of(upload.hostId);
  const flat = expected.find(isFlat);
  if (upload.state === 'paused') {
    await link.call('resumeUpload', { uploadId: upload.id, generation: upload.generation });
    await db.move('uploads', upload.id, 'open', { from: ['paused'] });
  }
  const begun = await db.transaction(async (tx) => {
    // What has to match is recorded before anybody can see the seal.
    if (flat !== undefined) await tx.uploads.setExpected(upload.id, flat);
    return tx.move('uploads', upload.id, 'finishing', { from: ['open'] });
  });
  if (!begun) {
    const now = await db.uploads.find(upload.id);
    if (now === undefined || now.state === 'sealed') return;
    if (now.state !== 'finishing') throw endedError(now);
  }
  const report = await callFinish(context, upload, request, expected);
  if (report.sealed === null) {
    throw new HawserError('internal', 'The agent ended the upload without a seal; try to finish again.');
  }
  await completeUpload(context, upload.id, report.sealed);
}

async function callFinish(
  context: Context,
  upload: UploadRow,
  request: FinishUpload,
  expected: readonly Digest[],
): Promise<UploadReport> {
  try {
    return await context.agents.of(upload.hostId).call('finishUpload', {
      uploadId: upload.id,
      generation: upload.generation,
      size: request.size ?? upload.declaredSize,
      treeDigest: expected.find((digest) => !isFlat(digest))?.hex ?? null,
    });
  } catch (error) {
    if (isHawserError(error, 'format-unsafe') || isHawserError(error, 'format-mismatch')) {
      await endUpload(context, upload, { to: 'failed', status: error.message, cause: error.code, image: 'failed' });
    } else if (isCorrectable(error)) {
      await context.db.transaction(async (tx) => {
        if (!(await tx.move('uploads', upload.id, 'open', { from: ['finishing'] }))) return;
        await tx.uploads.setExpected(upload.id, upload.expectedDigest);
      });
      touchUpload(context, upload);
    }
    // Anything else (the agent cannot be reached) leaves it `finishing`: it may be sealed, ask again.
    throw error;
  }
}

/** What the client can put right and finish again. */
function isCorrectable(error: unknown): boolean {
  return (
    isHawserError(error) &&
    ['incomplete', 'size-mismatch', 'digest-mismatch', 'conflict', 'bad-request', 'paused', 'store-full'].includes(
      error.code,
    )
  );
}

async function answer(context: Context, id: string, request: FinishUpload): Promise<Finished> {
  const row = await context.db.uploads.find(id);
  const image = row && (await context.db.images.find(row.imageId));
  if (row === undefined || image === undefined) throw new HawserError('not-found', 'The upload is gone.');
  if (row.state !== 'sealed') throw endedError(row);
  if (image.state === 'failed') {
    const task = await context.db.tasks.find(row.taskId);
    const code = isErrorCode(task?.cause) ? task.cause : 'conflict';
    throw new HawserError(code, image.status);
  }
  if (request.size !== undefined && image.size !== null && request.size !== image.size) {
    throw new HawserError('size-mismatch', `The image has ${image.size} bytes; ${request.size} were declared.`);
  }
  const wanted = request.digest;
  const found = wanted && image.digests.find((digest) => digest.algorithm === wanted.algorithm);
  if (wanted !== undefined && found !== undefined && found.hex !== wanted.hex) {
    throw new HawserError(
      'digest-mismatch',
      `The image has ${formatDigest(found)}; ${formatDigest(wanted)} was declared.`,
    );
  }
  return { upload: uploadView(context, row), image: imageView(context, image) };
}

type Sealed = NonNullable<UploadReport['sealed']>;
type Verdict =
  | { readonly kind: 'good' }
  | { readonly kind: 'open'; readonly algorithm: Exclude<DigestAlgorithm, 'tree-sha256'> }
  | { readonly kind: 'bad'; readonly status: string };

/**
 * Records that the agent sealed it: Upload, Copy, Image and Task in one transaction. Called by finish,
 * by reports and when an agent comes back; the first one does it.
 */
export async function completeUpload(context: Context, uploadId: string, sealed: Sealed): Promise<void> {
  const { db } = context;
  const imageId = (await db.uploads.find(uploadId))?.imageId;
  if (imageId === undefined) return;
  const work = await db.transaction(async (tx) => {
    await tx.images.lock(imageId);
    await tx.move('uploads', uploadId, 'open', { from: ['paused'] });
    await tx.move('uploads', uploadId, 'finishing', { from: ['open'] });
    if (!(await tx.move('uploads', uploadId, 'sealed', { status: '' }))) return undefined;
    const upload = await tx.uploads.find(uploadId);
    if (upload === undefined) return undefined;
    await tx.uploads.setDuty(uploadId, 'forget');
    const numbers = { receivedBytes: sealed.size, zeroBytes: upload.zeroBytes, declaredSize: sealed.size };
    const { expireAfterSeconds } = context.config.uploads;
    await tx.uploads.setProgress(uploadId, { ...numbers, active: true, expireAfterSeconds });
    await tx.uploads.setFrom(uploadId, null);
    await tx.images.setCopyStored(upload.copyId, sealed.storedSize, sealed.fingerprint);
    await tx.copies.setRetry(upload.copyId, 0, null);
    await tx.copies.setChecked([upload.copyId], context.now());
    if (upload.purpose === 'copy') return recordCopied(tx, upload);
    await tx.images.setContent(upload.imageId, {
      size: sealed.size,
      virtualSize: sealed.virtualSize,
      format: sealed.format,
      digests: digestsOf(sealed),
    });
    return recordVerdict(tx, upload, sealed);
  });
  const upload = await db.uploads.find(uploadId);
  if (upload === undefined) return;
  context.live.delete(uploadId);
  touchUpload(context, upload);
  context.tend();
  if (upload.duty === 'forget') await settle(context, upload);
  if (work !== undefined) await startWork(context, upload.taskId);
}

/** One more Copy: the agent has compared its tree digest with the Image's. A failed Image has its bytes again. */
async function recordCopied(tx: ControlDb, upload: UploadRow): Promise<undefined> {
  await tx.move('copies', upload.copyId, 'ready', { status: '' });
  await tx.move('images', upload.imageId, 'ready', { from: ['failed'], status: '' });
  await tx.move('tasks', upload.taskId, 'RUNNING', { from: ['INITIATED'] });
  const route = (await tx.tasks.find(upload.taskId))?.result;
  const status = typeof route?.from === 'string' ? `Copied from ${route.from} to ${route.to}` : 'Copied';
  await tx.move('tasks', upload.taskId, 'SUCCESS', { status });
}

async function recordVerdict(tx: ControlDb, upload: UploadRow, sealed: Sealed): Promise<Work | undefined> {
  const verdict = compare(upload.expectedDigest, sealed);
  await tx.move('copies', upload.copyId, 'in-progress');
  await tx.move('images', upload.imageId, 'in-progress', { from: ['pending'] });
  await tx.move('tasks', upload.taskId, 'RUNNING');
  if (verdict.kind === 'bad') {
    await tx.move('copies', upload.copyId, 'failed', { status: verdict.status });
    await tx.move('images', upload.imageId, 'failed', { status: verdict.status });
    await tx.move('tasks', upload.taskId, 'FAILURE', { status: verdict.status, cause: 'digest-mismatch' });
    return undefined;
  }
  if (verdict.kind === 'good') {
    await tx.move('copies', upload.copyId, 'ready', { status: '' });
    await tx.move('images', upload.imageId, 'ready', { status: '' });
    await tx.move('tasks', upload.taskId, 'SUCCESS', { status: doneWord(upload) });
    return undefined;
  }
  const { hostId, storeId, key } = upload;
  const work = { kind: 'digest', hostId, storeId, key, algorithm: verdict.algorithm } as const;
  await tx.move('images', upload.imageId, 'verifying', { status: `The ${verdict.algorithm} digest is being computed` });
  await tx.tasks.setWork(upload.taskId, work, sealed.size);
  await tx.tasks.setStatus(upload.taskId, 'verifying', null);
  return work;
}

function doneWord({ source }: UploadRow): string {
  if (source.kind === 'url') return 'Downloaded';
  return source.kind === 'copy' ? 'Cloned' : 'Uploaded';
}

/** The agent has compared the tree digest itself before it sealed. */
function compare(expected: Digest | null, sealed: Sealed): Verdict {
  if (expected === null || expected.algorithm === 'tree-sha256') return { kind: 'good' };
  const hex = sealed.digests[expected.algorithm];
  if (hex === undefined) return { kind: 'open', algorithm: expected.algorithm };
  if (hex === expected.hex) return { kind: 'good' };
  return { kind: 'bad', status: mismatch(expected, hex) };
}

function digestsOf(sealed: Sealed): readonly Digest[] {
  const flat = digestAlgorithms.flatMap((algorithm) => {
    const hex = algorithm === 'tree-sha256' ? sealed.treeDigest : sealed.digests[algorithm];
    return hex === undefined ? [] : [{ algorithm, hex }];
  });
  return flat;
}
