import type { AgentRequest, WorkReport } from '../../contract/link.ts';
import { HawserError, toHawserError } from '../../core/errors.ts';
import type { EngineMeans } from '../../engine/incoming.ts';
import { flatDigest, verifyBlocks } from '../../engine/scan.ts';
import type { HostCopies } from './host-copies.ts';
import type { StateFolder } from './ports.ts';

type StartWork = AgentRequest<'startWork'>;

export interface HostWorkParts {
  readonly copies: HostCopies;
  readonly state: StateFolder;
  readonly means: EngineMeans;
  readonly changed: (report: WorkReport) => void;
}

interface Running {
  report: WorkReport;
  readonly stop: AbortController;
  /** Set while paused; resolves when it goes on. */
  gate: PromiseWithResolvers<void> | undefined;
}

/** Work on sealed Copies for Tasks: verify against the leaves, compute a flat digest. A killed agent forgets it; control starts it again. */
export class HostWork {
  readonly #parts: HostWorkParts;
  readonly #running = new Map<string, Running>();

  constructor(parts: HostWorkParts) {
    this.#parts = parts;
  }

  reports(): readonly WorkReport[] {
    return [...this.#running.values()].map((running) => running.report);
  }

  start(request: StartWork): WorkReport {
    const known = this.#running.get(request.taskId);
    if (known !== undefined) return known.report;
    const running: Running = {
      report: {
        taskId: request.taskId,
        generation: request.generation,
        state: 'running',
        doneBytes: 0,
        totalBytes: 0,
        problem: null,
        result: null,
      },
      stop: new AbortController(),
      gate: undefined,
    };
    this.#running.set(request.taskId, running);
    void this.#run(request, running);
    return running.report;
  }

  pause(taskId: string): WorkReport {
    const running = this.#get(taskId);
    if (running.report.state === 'running') {
      running.gate = Promise.withResolvers();
      this.#update(running, { state: 'paused' });
    }
    return running.report;
  }

  resume(taskId: string): WorkReport {
    const running = this.#get(taskId);
    if (running.report.state === 'paused') {
      this.#update(running, { state: 'running' });
      running.gate?.resolve();
      running.gate = undefined;
    }
    return running.report;
  }

  /** Repeatable. */
  cancel(taskId: string): void {
    const running = this.#running.get(taskId);
    if (running === undefined) return;
    running.stop.abort(new HawserError('cancelled', 'The task was cancelled.'));
    running.gate?.resolve();
    this.#running.delete(taskId);
  }

  forget(taskId: string): void {
    this.cancel(taskId);
  }

  close(): void {
    for (const taskId of [...this.#running.keys()]) this.cancel(taskId);
  }

  async #run(request: StartWork, running: Running): Promise<void> {
    try {
      const result = await this.#perform(request.work, running);
      this.#update(running, { state: 'done', result });
    } catch (error) {
      const { code, message, details } = toHawserError(error);
      this.#update(running, {
        state: code === 'cancelled' ? 'cancelled' : 'failed',
        problem: { code, message, details: { ...details } },
      });
    }
  }

  async #perform(work: StartWork['work'], running: Running): Promise<Record<string, unknown>> {
    const host = this.#parts.copies.store(work.storeId);
    await using reader = await host.store.open(work.key);
    this.#update(running, { totalBytes: reader.size });
    const means = { ...this.#parts.means, reader, onProgress: (done: number) => this.#progress(running, done) };
    if (work.kind === 'digest') {
      return { algorithm: work.algorithm, hex: await flatDigest(means, work.algorithm, running.stop.signal) };
    }
    const leaves = await this.#parts.state.readLeaves(work.storeId, work.key);
    if (leaves === undefined) {
      throw new HawserError(
        'corrupt',
        'The recorded digests of this copy are gone, so it cannot be compared with anything. Restore the folder agent/leaves, or upload the image again.',
      );
    }
    const damaged = await verifyBlocks(means, leaves, running.stop.signal);
    return { damaged };
  }

  async #progress(running: Running, doneBytes: number): Promise<void> {
    this.#update(running, { doneBytes });
    await running.gate?.promise;
    running.stop.signal.throwIfAborted();
  }

  #update(running: Running, change: Partial<WorkReport>): void {
    running.report = { ...running.report, ...change };
    if (this.#running.get(running.report.taskId) === running) this.#parts.changed(running.report);
  }

  #get(taskId: string): Running {
    const running = this.#running.get(taskId);
    if (running === undefined) throw new HawserError('not-found', 'This host does no such work.');
    return running;
  }
}
