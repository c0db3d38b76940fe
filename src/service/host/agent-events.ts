import type { AgentEvent, UploadReport, WorkReport } from '../../contract/link.ts';

const UPLOAD_EVERY_MS = 250;

/**
 * Turns changes into events: at most four a second for one thing, the last one always told. Each
 * subscriber hears `full` first, so that nothing is lost between two connections.
 */
export class AgentEvents {
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  readonly #due = new Map<string, { timer: NodeJS.Timeout; latest: () => AgentEvent | undefined }>();

  subscribe(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  upload(uploadId: string, report: () => UploadReport | undefined): void {
    this.#later(`upload ${uploadId}`, () => {
      const upload = report();
      return upload && { kind: 'upload', upload };
    });
  }

  /** One whose end others wait for is told at once. */
  uploadEnded(uploadId: string, report: () => UploadReport | undefined): void {
    this.#drop(`upload ${uploadId}`);
    const upload = report();
    if (upload !== undefined) this.tell({ kind: 'upload', upload });
  }

  work(work: WorkReport): void {
    if (work.state === 'running' || work.state === 'paused') {
      this.#later(`work ${work.taskId}`, () => ({ kind: 'work', work }));
    } else {
      this.#drop(`work ${work.taskId}`);
      this.tell({ kind: 'work', work });
    }
  }

  tell(event: AgentEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  close(): void {
    for (const name of [...this.#due.keys()]) this.#drop(name);
  }

  #later(name: string, latest: () => AgentEvent | undefined): void {
    if (this.#listeners.size === 0) return;
    const due = this.#due.get(name);
    if (due !== undefined) {
      due.latest = latest;
      return;
    }
    const timer = setTimeout(() => {
      const event = this.#due.get(name)?.latest();
      this.#due.delete(name);
      if (event !== undefined) this.tell(event);
    }, UPLOAD_EVERY_MS);
    this.#due.set(name, { timer: timer.unref(), latest });
  }

  #drop(name: string): void {
    clearTimeout(this.#due.get(name)?.timer);
    this.#due.delete(name);
  }
}
