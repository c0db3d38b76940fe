import { ApiClient } from '../../../src/client/api-client.ts';
import { RateEstimator } from '../../../src/client/rate-estimator.ts';
import { systemClock } from '../../../src/client/system-clock.ts';
import type { UploadProgress } from '../../../src/client/upload-progress.ts';
import { uploadSource } from '../../../src/client/uploader.ts';
import { toHawserError } from '../../../src/core/errors.ts';
import type { Placement } from '../../../src/core/nouns.ts';
import { browserHashing } from './browser-hashing.ts';
import { fileSource } from './file-source.ts';
import type { FromWorker, ToWorker, Trouble } from './messages.ts';
import { xhrTransport } from './xhr-transport.ts';

/**
 * One worker for each upload: reading, hashing and sending keep the page free. It is stopped by being
 * terminated, which ends its requests; what was acknowledged by then stays.
 */
const PARALLEL = 3;
const REPORT_MS = 200;

self.onmessage = (event: MessageEvent<ToWorker>) => {
  void run(event.data);
};

async function run(start: ToWorker): Promise<void> {
  const report = reporter(start);
  try {
    const { file, wish, uploadId, key } = start;
    const outcome = await uploadSource({
      api: new ApiClient({
        server: location.origin,
        clock: systemClock,
        fetch: (url, init) => fetch(url, { ...init, credentials: 'same-origin' }),
      }),
      source: fileSource(file, wish.apart),
      name: wish.name,
      transport: xhrTransport,
      hashing: await browserHashing(),
      clock: systemClock,
      signal: new AbortController().signal,
      newId: () => key,
      format: wish.format,
      parallel: PARALLEL,
      ...(wish.digest === undefined ? {} : { digest: wish.digest }),
      ...(wish.placement === undefined ? {} : { placement: plainPlacement(wish.placement) }),
      ...(wish.storeId === undefined ? {} : { storeId: wish.storeId }),
      ...(wish.imageId === undefined ? {} : { imageId: wish.imageId }),
      ...(uploadId === null ? {} : { uploadId }),
      onProgress: report,
    });
    say({ kind: 'done', imageId: outcome.image.id, how: outcome.how });
  } catch (error) {
    const { code, message, details } = toHawserError(error);
    say({ kind: 'failed', trouble: { code, message, details: plain(details) } });
  }
}

/** Turns the client's progress, which comes with every event of every request, into a few messages a second. */
function reporter(start: ToWorker): (progress: UploadProgress) => void {
  const speed = new RateEstimator();
  let began = false;
  let resumed: number | undefined;
  let told = { at: 0, phase: '', waiting: false };
  return (progress) => {
    const { uploadId, imageId, taskId, phase, waiting } = progress;
    if (!began && uploadId !== null && imageId !== null && taskId !== null) {
      began = true;
      say({ kind: 'began', uploadId, imageId, taskId });
    }
    if (phase === 'preparing' || phase === 'done') return;
    const now = systemClock.now();
    if (phase === 'sending') {
      resumed ??= progress.done;
      speed.add(now, progress.done + progress.underway);
    }
    const isWaiting = waiting !== null;
    if (now - told.at < REPORT_MS && told.phase === phase && told.waiting === isWaiting) return;
    told = { at: now, phase, waiting: isWaiting };
    if (waiting !== null) {
      say({ kind: 'waiting', trouble: { code: waiting.code, message: waiting.reason, details: {} } });
      return;
    }
    const doneBytes = Math.min(start.file.size, progress.done + progress.underway);
    say({
      kind: 'progress',
      phase: phase === 'verifying' ? 'checking' : phase,
      doneBytes,
      resumedBytes: resumed ?? 0,
      zeroBytes: progress.zeros,
      rate: phase === 'sending' ? speed.rate(now) : null,
    });
  };
}

function plainPlacement({ hostTags, minCopies, storeTags }: Placement) {
  return { minCopies, hostTags: [...hostTags], storeTags: [...storeTags] };
}

/** What can cross to the page: causes and the like cannot. */
function plain(details: Readonly<Record<string, unknown>>): Trouble['details'] {
  return JSON.parse(JSON.stringify(details)) as Trouble['details'];
}

function say(message: FromWorker): void {
  self.postMessage(message);
}
