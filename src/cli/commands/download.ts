import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type DownloadOutcome, type DownloadProgress, downloadImage } from '../../client/downloader.ts';
import { isTransferUrl } from '../../client/imageio-words.ts';
import { systemClock } from '../../client/system-clock.ts';
import type { ImageResource } from '../../contract/api/image.ts';
import { HawserError } from '../../core/errors.ts';
import { awaitServer } from '../await-server.ts';
import { type Connected, connected } from '../connect.ts';
import { exitCodes } from '../exit-codes.ts';
import { findImage } from '../find-image.ts';
import { openFileSink, pipeSink } from '../node/file-sink.ts';
import { HashPool } from '../node/hash-pool.ts';
import { NodeTransport } from '../node/node-transport.ts';
import { ProgressLine } from '../progress-line.ts';
import { type GlobalOptions, Interrupted, note, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, formatSeconds, printable } from '../text.ts';

export interface DownloadCommandOptions extends GlobalOptions {
  readonly force?: boolean;
  readonly parallel: number;
  readonly relay?: boolean;
}

/** `hawser download IMAGE|URL [FILE|-]`. Resolves with the exit code. */
export async function download(
  text: string,
  file: string | undefined,
  options: DownloadCommandOptions,
): Promise<number> {
  if (isTransferUrl(text)) {
    return await (await import('./download-from-ticket.ts')).downloadFromTicket(text, file, options);
  }
  const { signal, release } = stopSignal();
  try {
    return await connected(options, async (open) => {
      await awaitServer(open, signal, file === '-' ? { ...options, json: false } : options);
      const image = await findImage(open.api, text, (each) => each.state === 'ready');
      const begun = performance.now();
      const seconds = () => (performance.now() - begun) / 1000;
      if (file === '-') {
        const outcome = await fetchInto(
          { open, image, sink: pipeSink(process.stdout), signal },
          { ...options, json: false },
        );
        note(summary(image, outcome, seconds()), options);
        return exitCodes.ok;
      }
      const path = await targetOf(file, image, options);
      const outcome = await intoFile({ open, image, path, signal }, options);
      if (options.json === true) printJson({ event: 'done', image, file: path, ...outcome, seconds: seconds() });
      else {
        note(summary(image, outcome, seconds()), options);
        print(path);
      }
      return exitCodes.ok;
    });
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    note('Interrupted. What was fetched is kept; run the same command to go on.', options);
    return exitCodes.interrupted;
  } finally {
    release();
  }
}

interface Fetch {
  readonly open: Connected;
  readonly image: ImageResource;
  readonly signal: AbortSignal;
}

/** Into FILE.hawser-part, then under its name: a file with that name is always whole and right. */
async function intoFile(
  fetch: Fetch & { readonly path: string },
  options: DownloadCommandOptions,
): Promise<DownloadOutcome> {
  const part = `${fetch.path}.hawser-part`;
  await using sink = await openFileSink(part, fetch.image.size ?? 0);
  const outcome = await fetchInto({ ...fetch, sink }, options);
  await sink.flush();
  await rename(part, fetch.path);
  return outcome;
}

async function fetchInto(
  { open, image, sink, signal }: Fetch & { readonly sink: Parameters<typeof downloadImage>[0]['sink'] },
  options: DownloadCommandOptions,
): Promise<DownloadOutcome> {
  await using hashing = new HashPool();
  using line = new ProgressLine(image.name, options);
  return await downloadImage({
    api: open.api,
    image,
    sink,
    transport: new NodeTransport(open.connection),
    hashing,
    clock: systemClock,
    signal,
    parallel: options.parallel,
    direct: options.relay !== true,
    onProgress: (progress) => line.update(viewOf(progress)),
  });
}

function viewOf({ done, total, waiting }: DownloadProgress) {
  return { doing: 'fetching', done, total, waiting: waiting === null ? null : waiting.reason };
}

async function targetOf(
  file: string | undefined,
  image: ImageResource,
  { force = false }: DownloadCommandOptions,
): Promise<string> {
  const own = image.name.replaceAll('/', '_').replace(/^\.+$/, '_');
  const there = file === undefined ? undefined : await stat(file).catch(() => undefined);
  const path = file === undefined ? own : there?.isDirectory() === true ? join(file, own) : file;
  const target = await stat(path).catch(() => undefined);
  if (target === undefined) return path;
  if (!target.isFile()) throw new HawserError('unsupported', `${path} is not a file; a download makes a file.`);
  if (force) return path;
  throw new HawserError('already-exists', `${path} exists already.`, {
    details: { next: 'Give another file, or --force to replace it.' },
  });
}

function summary(image: ImageResource, outcome: DownloadOutcome, seconds: number): string {
  const { fetchedBytes, holeBytes, keptBytes, size } = outcome;
  const kept = keptBytes === 0 ? '' : `, ${formatBytes(keptBytes)} kept from before`;
  return `${printable(image.name)}  ${formatBytes(size)}  verified (${formatBytes(fetchedBytes)} fetched${kept}, ${formatBytes(holeBytes)} holes) in ${formatSeconds(seconds)}`;
}
