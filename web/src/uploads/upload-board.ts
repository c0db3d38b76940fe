import { notifications } from '@mantine/notifications';
import type { QueryClient } from '@tanstack/react-query';
import type { UploadResource } from '../../../src/contract/api/upload.ts';
import { toHawserError } from '../../../src/core/errors.ts';
import { calls } from '../api/calls.ts';
import { loginLost } from '../login/login-state.ts';
import { signalStore } from '../parts/signal-store.ts';
import { uniqueId } from '../parts/unique-id.ts';
import type { FromWorker, ToWorker, Trouble, UploadWish } from './messages.ts';
import { rememberUpload } from './own-uploads.ts';

export type Phase =
  | 'queued'
  | 'starting'
  | 'checking'
  | 'sending'
  | 'waiting'
  | 'finishing'
  | 'paused'
  | 'failed'
  | 'done';

/** One upload of this browser, from the choice of its file until it is dismissed. */
export interface BoardItem {
  readonly id: string;
  readonly file: File;
  readonly wish: UploadWish;
  readonly uploadId: string | null;
  readonly imageId: string | null;
  readonly taskId: string | null;
  readonly phase: Phase;
  readonly doneBytes: number;
  readonly resumedBytes: number;
  readonly zeroBytes: number;
  readonly rate: number | null;
  readonly trouble: Trouble | null;
}

/** So many uploads move at once; the others wait their turn. */
const AT_ONCE = 3;
const active: readonly Phase[] = ['starting', 'checking', 'sending', 'waiting', 'finishing'];

export function isActive(item: BoardItem): boolean {
  return active.includes(item.phase);
}

/** All uploads of this browser. It lives outside React, so that navigation does not touch it. */
export class UploadBoard {
  readonly items = signalStore<readonly BoardItem[]>([]);
  readonly #workers = new Map<string, Worker>();
  #client: QueryClient | undefined;

  /** Connects the board to the page; the returned function lets go of it. */
  attach(client: QueryClient): () => void {
    this.#client = client;
    const warn = (event: BeforeUnloadEvent) => {
      if (this.items.get().some(isActive)) event.preventDefault();
    };
    window.addEventListener('beforeunload', warn);
    return () => window.removeEventListener('beforeunload', warn);
  }

  /** Begins a new upload, or goes on with `upload` when it is given. */
  add(file: File, wish: UploadWish, upload?: UploadResource): void {
    const item: BoardItem = {
      id: uniqueId(),
      file,
      wish,
      uploadId: upload?.id ?? null,
      imageId: upload?.imageId ?? wish.imageId ?? null,
      taskId: upload?.taskId ?? null,
      phase: 'queued',
      doneBytes: upload?.receivedBytes ?? 0,
      resumedBytes: 0,
      zeroBytes: upload?.zeroBytes ?? 0,
      rate: null,
      trouble: null,
    };
    this.items.set([...this.items.get(), item]);
    this.#startQueued();
  }

  /**
   * Stops sending and tells the server. Where bytes already flow the worker is kept, waiting: it knows
   * what was compared, and goes on without reading that again.
   */
  async pause(id: string): Promise<void> {
    const item = this.#item(id);
    if (item === undefined) return;
    if (item.phase !== 'sending') this.#stopWorker(id);
    this.#change(id, { phase: 'paused', rate: null, trouble: null });
    const { taskId } = item;
    if (taskId !== null && !(await this.#tell(id, () => calls.act(taskId, 'pause')))) this.#stopWorker(id);
    this.#startQueued();
  }

  async resume(id: string): Promise<void> {
    const item = this.#item(id);
    if (item === undefined) return;
    const waits = this.#workers.has(id);
    this.#change(id, { phase: waits ? 'starting' : 'queued', trouble: null });
    const { taskId } = item;
    if (waits && taskId !== null && !(await this.#tell(id, () => calls.act(taskId, 'resume')))) {
      this.#stopWorker(id);
      this.#change(id, { phase: 'queued' });
    }
    this.#startQueued();
  }

  async cancel(id: string): Promise<void> {
    this.#stopWorker(id);
    const uploadId = this.#item(id)?.uploadId;
    this.dismiss(id);
    if (uploadId) await calls.cancelUpload(uploadId).catch((error: unknown) => this.#complain('Not cancelled', error));
    this.#refresh();
  }

  /** Throws the received bytes away and sends all of the file, into the same Image. */
  async startOver(id: string): Promise<void> {
    const item = this.#item(id);
    if (item === undefined) return;
    await this.cancel(id);
    this.add(item.file, { ...item.wish, imageId: undefined, apart: uniqueId() });
  }

  /** Leaves the unfinished Upload waiting for its own file and sends this one beside it. */
  asNewImage(id: string): void {
    const item = this.#item(id);
    if (item === undefined) return;
    this.dismiss(id);
    this.add(item.file, { ...item.wish, name: item.file.name, imageId: undefined, apart: uniqueId() });
    this.#refresh();
  }

  dismiss(id: string): void {
    this.#stopWorker(id);
    this.items.set(this.items.get().filter((item) => item.id !== id));
    this.#startQueued();
  }

  goOnAfterLogin(): void {
    for (const item of this.items.get()) {
      if (item.phase === 'failed' && item.trouble?.code === 'unauthenticated') void this.resume(item.id);
    }
  }

  stopAll(): void {
    for (const id of [...this.#workers.keys()]) this.#stopWorker(id);
    this.items.set([]);
  }

  #startQueued(): void {
    for (const item of this.items.get()) {
      if (this.items.get().filter(isActive).length >= AT_ONCE) return;
      if (item.phase === 'queued') this.#start(item);
    }
  }

  #start(item: BoardItem): void {
    this.#stopWorker(item.id);
    const worker = new Worker(new URL('./upload-worker.ts', import.meta.url), { type: 'module' });
    this.#workers.set(item.id, worker);
    worker.onmessage = (event: MessageEvent<FromWorker>) => {
      if (this.#workers.get(item.id) === worker) this.#heard(item.id, event.data);
    };
    worker.onerror = (event) => {
      const message = event.message || 'The part of the page that sends files could not be loaded.';
      this.#heard(item.id, { kind: 'failed', trouble: { code: 'internal', message, details: {} } });
    };
    this.#change(item.id, { phase: 'starting' });
    const { file, wish, uploadId, id } = item;
    const start: ToWorker = { file, wish, uploadId, key: id };
    worker.postMessage(start);
  }

  #heard(id: string, message: FromWorker): void {
    switch (message.kind) {
      case 'began': {
        const { uploadId, imageId, taskId } = message;
        rememberUpload(uploadId);
        this.#change(id, { uploadId, imageId, taskId });
        this.#refresh();
        return;
      }
      case 'progress': {
        const { phase, doneBytes, resumedBytes, zeroBytes, rate } = message;
        const tail = this.#item(id)?.phase === 'paused' && phase === 'sending';
        this.#change(
          id,
          tail ? { doneBytes, zeroBytes } : { phase, doneBytes, resumedBytes, zeroBytes, rate, trouble: null },
        );
        return;
      }
      case 'waiting':
        this.#waits(id, message.trouble);
        return;
      case 'done':
        this.#ended(id, message);
        return;
      case 'failed':
        this.#failed(id, message.trouble);
    }
  }

  /** The worker tries again by itself; a pause, by whomever, it sits out. */
  #waits(id: string, trouble: Trouble): void {
    const byHere = this.#item(id)?.phase === 'paused';
    if (trouble.code === 'paused') this.#change(id, { phase: 'paused', rate: null, trouble: byHere ? null : trouble });
    else this.#change(id, { phase: 'waiting', rate: null, trouble });
  }

  #ended(id: string, { imageId, how }: Extract<FromWorker, { kind: 'done' }>): void {
    const item = this.#item(id);
    this.#stopWorker(id);
    this.#change(id, { phase: 'done', imageId, doneBytes: item?.file.size ?? 0, rate: null, trouble: null });
    const name = item?.wish.name ?? 'The Image';
    notifications.show({
      title: how === 'there' ? 'Here already' : 'Upload complete',
      message:
        how === 'there'
          ? `${name} was uploaded before; it was compared and is the same.`
          : `${name} has arrived whole.`,
      color: 'teal',
    });
    this.#refresh();
    this.#startQueued();
  }

  #failed(id: string, trouble: Trouble): void {
    const item = this.#item(id);
    this.#stopWorker(id);
    const phase = trouble.code === 'paused' ? 'paused' : 'failed';
    this.#change(id, { phase, trouble, rate: null });
    if (trouble.code === 'unauthenticated') loginLost.set(true);
    else if (phase === 'failed') {
      notifications.show({
        title: `${item?.wish.name} stopped`,
        message: trouble.message,
        color: 'red',
        autoClose: 12_000,
      });
    }
    this.#refresh();
    this.#startQueued();
  }

  /** False when the server could not be told; why is shown at the item. */
  async #tell(id: string, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      return true;
    } catch (error) {
      const { code, message, details } = toHawserError(error);
      this.#change(id, { trouble: { code, message, details } });
      return false;
    }
  }

  #complain(title: string, error: unknown): void {
    notifications.show({ title, message: toHawserError(error).message, color: 'red' });
  }

  #item(id: string): BoardItem | undefined {
    return this.items.get().find((item) => item.id === id);
  }

  #change(id: string, change: Partial<BoardItem>): void {
    this.items.set(this.items.get().map((item) => (item.id === id ? { ...item, ...change } : item)));
  }

  /** A stopped worker sends nothing more: its requests end with it. */
  #stopWorker(id: string): void {
    this.#workers.get(id)?.terminate();
    this.#workers.delete(id);
  }

  #refresh(): void {
    void this.#client?.invalidateQueries({ refetchType: 'active' });
  }
}

export const uploadBoard = new UploadBoard();
