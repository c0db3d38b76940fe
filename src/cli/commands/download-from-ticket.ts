import { rename, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { DownloadSink } from '../../client/download-sink.ts';
import { downloadFromImageio, type ImageioDownloadOutcome, imageioSize } from '../../client/imageio-download.ts';
import { systemClock } from '../../client/system-clock.ts';
import { HawserError } from '../../core/errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { openFileSink, pipeSink } from '../node/file-sink.ts';
import { HashPool } from '../node/hash-pool.ts';
import { ProgressLine } from '../progress-line.ts';
import { type GlobalOptions, Interrupted, note, print, printJson, stopSignal } from '../terminal.ts';
import { formatBytes, formatSeconds, printable } from '../text.ts';
import { openTicketImage, refuseOptions, type TicketImage } from '../ticket-image.ts';
import { viewOfTicket } from '../ticket-view.ts';

export interface TicketDownloadOptions extends GlobalOptions {
  readonly force?: boolean;
  readonly parallel: number;
}

/** `hawser download URL FILE`: what lies behind a ticket. Resolves with the exit code. */
export async function downloadFromTicket(
  url: string,
  file: string | undefined,
  options: TicketDownloadOptions,
): Promise<number> {
  refuseOptions({ ...options }, ['relay']);
  if (file === undefined) {
    throw new HawserError('bad-request', 'Give the file that it shall become: hawser download URL FILE.');
  }
  const { signal, release } = stopSignal();
  const pipe = file === '-';
  const quieter = pipe ? { ...options, json: false } : options;
  try {
    if (!pipe) await refuseExisting(file, options);
    using ticket = await openTicketImage(url, options, signal);
    const begun = performance.now();
    const size = await imageioSize(ticket.image, ticket.offer);
    const run = { ticket, size, signal, name: pipe ? 'stdout' : basename(file) };
    const outcome = pipe ? await fetchInto(pipeSink(process.stdout), run, quieter) : await intoFile(file, run, options);
    report(outcome, (performance.now() - begun) / 1000, { file, options: quieter });
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    note(pipe ? 'Interrupted.' : 'Interrupted. What was fetched is kept; run the same command to go on.', options);
    return exitCodes.interrupted;
  } finally {
    release();
  }
}

interface Run {
  readonly ticket: TicketImage;
  readonly size: number;
  readonly signal: AbortSignal;
  readonly name: string;
}

/** Into FILE.hawser-part, then under its name: a file with that name is always whole. */
async function intoFile(path: string, run: Run, options: TicketDownloadOptions): Promise<ImageioDownloadOutcome> {
  const part = `${path}.hawser-part`;
  await using sink = await openFileSink(part, run.size);
  const outcome = await fetchInto(sink, run, options);
  await sink.flush();
  await rename(part, path);
  return outcome;
}

async function fetchInto(
  sink: DownloadSink,
  { name, signal, size, ticket }: Run,
  options: TicketDownloadOptions,
): Promise<ImageioDownloadOutcome> {
  await using hashing = new HashPool();
  using line = new ProgressLine(name, options);
  return await downloadFromImageio({
    ...ticket,
    size,
    sink,
    hashing,
    clock: systemClock,
    signal,
    parallel: options.parallel,
    onProgress: (progress) => line.update(viewOfTicket(progress)),
  });
}

async function refuseExisting(path: string, { force = false }: TicketDownloadOptions): Promise<void> {
  const target = await stat(path).catch(() => undefined);
  if (target === undefined) return;
  if (target.isDirectory()) throw new HawserError('bad-request', `${path} is a folder; give the file in it.`);
  if (!target.isFile()) throw new HawserError('unsupported', `${path} is not a file; a download makes a file.`);
  if (force) return;
  throw new HawserError('already-exists', `${path} exists already.`, {
    details: { next: 'Give another file, or --force to replace it.' },
  });
}

function report(
  outcome: ImageioDownloadOutcome,
  seconds: number,
  { file, options }: { readonly file: string; readonly options: GlobalOptions },
): void {
  if (options.json === true) {
    printJson({ event: 'done', file, ...outcome, seconds });
    return;
  }
  const { fetchedBytes, holeBytes, keptBytes, size, verified } = outcome;
  const kept = keptBytes === 0 ? '' : `, ${formatBytes(keptBytes)} kept from before`;
  const name = file === '-' ? 'stdout' : printable(basename(file));
  note(
    `${name}  ${formatBytes(size)}  ${verified ? 'verified' : 'not verified: the server has no checksums'} (${formatBytes(fetchedBytes)} fetched${kept}, ${formatBytes(holeBytes)} holes) in ${formatSeconds(seconds)}`,
    options,
  );
  if (file !== '-') print(file);
}
