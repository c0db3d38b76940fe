import { basename } from 'node:path';
import type { ImageioProgress } from '../../client/imageio-progress.ts';
import { type ImageioUploadOutcome, uploadToImageio } from '../../client/imageio-upload.ts';
import { systemClock } from '../../client/system-clock.ts';
import { HawserError } from '../../core/errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { type LocalFile, openLocalFile } from '../node/file-source.ts';
import { HashPool } from '../node/hash-pool.ts';
import { ProgressLine } from '../progress-line.ts';
import { type GlobalOptions, Interrupted, note, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, formatSeconds, printable } from '../text.ts';
import { openTicketImage, refuseOptions, type TicketImage } from '../ticket-image.ts';
import { viewOfTicket } from '../ticket-view.ts';

export interface TicketUploadOptions extends GlobalOptions {
  readonly parallel: number;
  readonly chunkSize: number;
  readonly restart?: boolean;
}

const ABOUT_IMAGES = ['size', 'format', 'digest', 'store', 'resume', 'relay', 'minCopies', 'storeTag', 'hostTag'];

/** `hawser upload FILE URL`: over what lies behind a ticket. Resolves with the exit code. */
export async function uploadToTicket(file: string, url: string, options: TicketUploadOptions): Promise<number> {
  refuseOptions({ ...options }, ABOUT_IMAGES);
  if (file === '-') {
    throw new HawserError('unsupported', 'A pipe cannot be uploaded to a ticket: it could not be sent again.', {
      details: { next: 'Write it to a file first, or upload it as an image: hawser upload - NAME.' },
    });
  }
  const { signal, release } = stopSignal();
  let comparable = false;
  let last: ImageioProgress | undefined;
  try {
    await using source = await openLocalFile(file);
    using ticket = await openTicketImage(url, options, signal);
    comparable = ticket.offer.partial.has('checksum');
    const begun = performance.now();
    const outcome = await send({ source, ticket, signal, onProgress: (progress) => (last = progress) }, options);
    report(outcome, (performance.now() - begun) / 1000, { name: basename(file), options });
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    sayInterrupted(last, comparable, options);
    return exitCodes.interrupted;
  } finally {
    release();
  }
}

interface Sent {
  readonly source: LocalFile;
  readonly ticket: TicketImage;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: ImageioProgress) => void;
}

async function send(
  { onProgress, signal, source, ticket }: Sent,
  options: TicketUploadOptions,
): Promise<ImageioUploadOutcome> {
  await using hashing = new HashPool();
  using line = new ProgressLine(basename(source.path), options);
  return await uploadToImageio({
    ...ticket,
    source,
    hashing,
    clock: systemClock,
    signal,
    parallel: options.parallel,
    maxChunk: options.chunkSize,
    restart: options.restart === true,
    onProgress: (progress) => {
      onProgress(progress);
      line.update(viewOfTicket(progress));
    },
  });
}

function report(
  outcome: ImageioUploadOutcome,
  seconds: number,
  { name, options }: { readonly name: string; readonly options: GlobalOptions },
): void {
  if (options.json === true) {
    printJson({ event: 'done', ...outcome, seconds });
    return;
  }
  const { imageSize, keptBytes, sentBytes, size, treeDigest, verified, zeroBytes } = outcome;
  const facts = [
    `${formatBytes(sentBytes)} sent`,
    ...(zeroBytes === 0 ? [] : [`${formatBytes(zeroBytes)} are zeros`]),
    ...(keptBytes === 0 ? [] : [`${formatBytes(keptBytes)} were there and are the same`]),
  ];
  const how = verified ? 'uploaded and verified' : 'uploaded, not verified';
  note(`${printable(name)}  ${formatBytes(size)}  ${how} (${facts.join(', ')}) in ${formatSeconds(seconds)}`, options);
  if (!verified) note('The server has no checksum of exactly these bytes to compare with.', options);
  if (imageSize !== undefined && imageSize > size) {
    note(`The image behind the ticket is larger (${formatBytes(imageSize)}); the rest of it is as it was.`, options);
  }
  print(`tree-sha256:${treeDigest}`);
}

function sayInterrupted(last: ImageioProgress | undefined, comparable: boolean, options: GlobalOptions): void {
  const done = last?.done ?? 0;
  if (options.json === true) {
    printJson({ event: 'interrupted', done, resumable: comparable });
    return;
  }
  const kept = last === undefined ? '' : ' The server keeps what it has received.';
  const again = comparable
    ? 'Run the same command to go on: what is there is compared, and only the rest is sent.'
    : 'Run the same command to begin anew: this server cannot tell what it has.';
  note(`Interrupted.${kept} ${again}`);
}
