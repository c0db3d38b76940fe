import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import type { ApiClient } from '../../client/api-client.ts';
import { isTransferUrl } from '../../client/imageio-words.ts';
import type { FileSource, Source } from '../../client/ports.ts';
import { systemClock } from '../../client/system-clock.ts';
import type { UploadProgress } from '../../client/upload-progress.ts';
import { type UploadOutcome, uploadSource } from '../../client/uploader.ts';
import type { ImageResource } from '../../contract/api/image.ts';
import { HawserError } from '../../core/errors.ts';
import { awaitServer } from '../await-server.ts';
import { type Connected, connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findStore } from '../find-place.ts';
import { formatOf } from '../format-option.ts';
import { type LocalFile, openLocalFile } from '../node/file-source.ts';
import { HashPool } from '../node/hash-pool.ts';
import { NodeTransport } from '../node/node-transport.ts';
import { pipeSource } from '../node/pipe-source.ts';
import { type PlacementOptions, placementOf } from '../placement-options.ts';
import { ProgressLine } from '../progress-line.ts';
import { type GlobalOptions, Interrupted, note, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, formatSeconds, printable } from '../text.ts';

export interface UploadCommandOptions extends GlobalOptions, PlacementOptions {
  readonly size?: number;
  readonly parallel: number;
  readonly chunkSize: number;
  readonly format?: string;
  readonly digest?: string;
  readonly store?: string;
  readonly resume?: string;
  readonly restart?: boolean;
  readonly relay?: boolean;
}

/** `hawser upload FILE [NAME|URL]`. Resolves with the exit code. */
export async function upload(file: string, name: string | undefined, options: UploadCommandOptions): Promise<number> {
  if (name !== undefined && isTransferUrl(name)) {
    return await (await import('./upload-to-ticket.ts')).uploadToTicket(file, name, options);
  }
  if (file === '-') {
    const imageName = name ?? 'stdin';
    return await send(pipeSource(process.stdin, { name: imageName, size: options.size ?? null }), imageName, options);
  }
  if (options.size !== undefined) {
    throw new HawserError('bad-request', '--size is for pipes only; a file has its own size.');
  }
  await using source = await openLocalFile(file);
  return await send(source, name ?? basename(file), options, source);
}

async function send(source: Source, name: string, options: UploadCommandOptions, file?: LocalFile): Promise<number> {
  const { signal, release } = stopSignal();
  let last: UploadProgress | undefined;
  try {
    return await connected(options, async (open) => {
      try {
        await awaitServer(open, signal, options);
        const begun = performance.now();
        const outcome = await run(source, name, { ...options, open, signal, file, onProgress: (now) => (last = now) });
        const image = await settled(open.api, outcome.image, signal, options);
        report({ ...outcome, image }, (performance.now() - begun) / 1000, options);
        return exitCodes.ok;
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
        await sayHowToGoOn(open, last, { source, name, options, file });
        return exitCodes.interrupted;
      }
    });
  } finally {
    release();
  }
}

interface Run extends UploadCommandOptions {
  readonly open: Connected;
  readonly signal: AbortSignal;
  readonly file: LocalFile | undefined;
  readonly onProgress: (progress: UploadProgress) => void;
}

async function run(source: Source, name: string, options: Run): Promise<UploadOutcome> {
  const { file, format, open, signal, store } = options;
  const storeId = store === undefined ? undefined : (await findStore(open.api, store)).id;
  const placement = placementOf(options);
  await using hashing = new HashPool();
  using line = new ProgressLine(name, options);
  return await uploadSource({
    api: open.api,
    source: file === undefined ? source : asSource(file),
    name,
    transport: new NodeTransport(open.connection),
    hashing,
    clock: systemClock,
    signal,
    newId: randomUUID,
    parallel: options.parallel,
    maxChunk: options.chunkSize,
    direct: options.relay !== true,
    restart: options.restart === true,
    ...(file === undefined ? {} : { dataSize: file.dataSize }),
    ...(format === undefined ? {} : { format: formatOf(format) }),
    ...(options.digest === undefined ? {} : { digest: options.digest }),
    ...(storeId === undefined ? {} : { storeId }),
    ...(placement === undefined ? {} : { placement }),
    ...(options.resume === undefined ? {} : { uploadId: options.resume }),
    onProgress: (progress) => {
      options.onProgress(progress);
      line.update(viewOf(progress));
    },
  });
}

function asSource(file: LocalFile): FileSource {
  return file;
}

function viewOf(progress: UploadProgress) {
  const doing = {
    preparing: 'preparing',
    verifying: 'comparing',
    sending: 'sending',
    finishing: 'finishing',
    done: 'done',
  };
  const { done, phase, total, underway, waiting } = progress;
  const shown = phase === 'sending' ? done + underway : done;
  return {
    doing: doing[phase],
    done: total === null ? shown : Math.min(total, shown),
    total,
    waiting:
      waiting === null
        ? null
        : `${waiting.reason} (again in ${formatSeconds(Math.max(0, waiting.until - systemClock.now()) / 1000)})`,
  };
}

/** A digest that was asked for may be checked after the last byte: wait for the verdict. */
async function settled(
  api: ApiClient,
  first: ImageResource,
  signal: AbortSignal,
  options: GlobalOptions,
): Promise<ImageResource> {
  let image = first;
  if (image.state === 'verifying') note('All bytes are there; their digest is being computed.', options);
  while (image.state === 'verifying' || image.state === 'in-progress') {
    await systemClock.delay(500, signal);
    image = await api.image(image.id, signal);
  }
  if (image.state === 'ready') return image;
  const task = image.taskId === null ? undefined : await api.task(image.taskId, signal);
  const code = task?.cause === 'digest-mismatch' ? 'digest-mismatch' : 'conflict';
  throw new HawserError(code, `The image "${image.name}" is ${image.state}: ${image.status || (task?.status ?? '')}`, {
    details: { imageId: image.id },
  });
}

function report(outcome: UploadOutcome, seconds: number, options: GlobalOptions): void {
  const { image, sentBytes, verifiedBytes, zeroBytes } = outcome;
  if (options.json === true) {
    const { how, treeDigest, upload: done } = outcome;
    printJson({
      event: 'done',
      how,
      image,
      uploadId: done.id,
      treeDigest,
      sentBytes,
      zeroBytes,
      verifiedBytes,
      seconds,
    });
    return;
  }
  const size = formatBytes(image.size ?? 0);
  const how = {
    begun: `uploaded (${formatBytes(sentBytes)} sent, ${formatBytes(zeroBytes)} are zeros)`,
    resumed: `uploaded (${formatBytes(verifiedBytes)} were there and are the same, ${formatBytes(sentBytes)} sent)`,
    there: 'had been uploaded before; every byte is the same',
  }[outcome.how];
  note(`${printable(image.name)}  ${size}  ${how} in ${formatSeconds(seconds)}`, options);
  print(image.id);
}

async function sayHowToGoOn(
  { api }: Connected,
  last: UploadProgress | undefined,
  run: { source: Source; name: string; options: UploadCommandOptions; file: LocalFile | undefined },
): Promise<void> {
  const { file, name, options } = run;
  const paused =
    last?.taskId != null &&
    (await api.actOnTask(last.taskId, 'pause', AbortSignal.timeout(2000)).then(
      () => true,
      () => false,
    ));
  const again = `hawser upload ${quoted(file?.path ?? '-')} ${quoted(name)}${options.size === undefined ? '' : ` --size ${options.size}`}`;
  if (options.json === true) {
    printJson({ event: 'interrupted', uploadId: last?.uploadId ?? null, done: last?.done ?? 0, paused, again });
    return;
  }
  const done = last === undefined || last.phase === 'preparing' ? '' : ` The server keeps what it has received.`;
  note(`Interrupted.${done} To go on:\n  ${again}`);
}

function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
