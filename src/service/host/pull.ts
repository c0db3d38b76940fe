import type { UploadReport } from '../../contract/link.ts';
import { backoffMs } from '../../core/backoff.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import { isTerminal, uploadStates } from '../../core/states.ts';
import type { HostUpload } from './host-upload.ts';

/** One way to fetch the bytes of one Upload. */
export interface PullWork extends AsyncDisposable {
  /**
   * Fetches what is missing; resolves when nothing is. What it throws says whether trying again may help
   * (`retryable`, and not details.final); details.retryAfterSeconds is when.
   */
  attempt(signal: AbortSignal): Promise<void>;
}

export interface PullPatience {
  /** Tries in a row that brought nothing before it is given up. */
  readonly tries: number;
  readonly delay: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
}

export type Standing = NonNullable<UploadReport['pull']>;

/** Longest wait that a server may ask for. */
const MOST_ASKED_MS = 300_000;

/** The fetching of one Upload: tries, waits and tries again until every byte is here or nothing helps. */
export class Pull {
  readonly #upload: HostUpload;
  readonly #patience: PullPatience;
  readonly #changed: (standing: Standing) => void;
  readonly #stop = new AbortController();
  readonly #stopped: Promise<never>;
  readonly #ended: Promise<void>;
  #woken = Promise.withResolvers<void>();
  #standing: Standing = 'running';
  #problem: HawserError | undefined;

  constructor(
    upload: HostUpload,
    work: PullWork,
    means: { readonly patience: PullPatience; readonly changed: (standing: Standing) => void },
  ) {
    this.#upload = upload;
    this.#patience = means.patience;
    this.#changed = means.changed;
    this.#stopped = rejected(this.#stop.signal);
    this.#stopped.catch(() => {}); // it is thrown where it is waited for
    this.#ended = this.#run(work);
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** The report of its Upload with how the fetching stands. */
  over(report: UploadReport): UploadReport {
    const problem = this.#problem && { code: this.#problem.code, message: this.#problem.message };
    return { ...report, pull: this.#standing, problem: report.problem ?? problem ?? null };
  }

  /** The Upload may have been resumed. */
  wake(): void {
    this.#woken.resolve();
  }

  /** Ends it; what was received stays. Resolves when nothing of it runs any more. Repeatable. */
  async stop(): Promise<void> {
    this.#stop.abort(new HawserError('cancelled', 'The fetching was stopped.'));
    await this.#ended;
  }

  async #run(work: PullWork): Promise<void> {
    const { signal } = this.#stop;
    try {
      await using held = work;
      await this.#persist(held, signal);
      this.#stand('done');
    } catch (error) {
      if (!signal.aborted) this.#stand('failed', toHawserError(error));
    }
  }

  async #persist(work: PullWork, signal: AbortSignal): Promise<void> {
    for (let failures = 0; ; ) {
      await this.#untilOpen();
      const before = this.#upload.received.bytes;
      try {
        await work.attempt(signal);
        if (isWhole(this.#upload)) return;
        throw new HawserError(
          'unavailable',
          'Bytes that had been fetched were discarded meanwhile; they are fetched again.',
        );
      } catch (error) {
        signal.throwIfAborted();
        const known = toHawserError(error);
        if (known.code === 'paused') continue;
        failures = this.#upload.received.bytes > before ? 1 : failures + 1;
        if (!known.retryable || known.details.final === true || failures >= this.#patience.tries) throw known;
        this.#stand('waiting', known);
        await this.#patience.delay(this.#waitFor(known, failures), signal);
      }
    }
  }

  /** A paused Upload waits until it goes on; one that has ended ends this too. */
  async #untilOpen(): Promise<void> {
    while (this.#upload.record.state === 'paused') {
      this.#stand('waiting');
      await Promise.race([this.#woken.promise, this.#stopped]);
      this.#woken = Promise.withResolvers();
    }
    const { state } = this.#upload.record;
    if (isTerminal(uploadStates, state))
      throw new HawserError('conflict', `The upload is ${state}; nothing is fetched for it.`, { details: { state } });
    this.#stand('running');
  }

  #waitFor(error: HawserError, failures: number): number {
    const asked = error.details.retryAfterSeconds;
    if (typeof asked === 'number' && asked > 0) return Math.min(asked * 1000, MOST_ASKED_MS);
    return backoffMs(failures, this.#patience.random);
  }

  #stand(standing: Standing, problem?: HawserError): void {
    if (this.#stop.signal.aborted) return;
    this.#standing = standing;
    this.#problem = problem;
    this.#changed(standing);
  }
}

/** Whether every byte is there. One that was fetched may be discarded by somebody later. */
export function isWhole({ record, received }: HostUpload): boolean {
  const { declaredSize } = record;
  return declaredSize !== null && received.missing({ offset: 0, length: declaredSize }).next().done === true;
}

function rejected(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
