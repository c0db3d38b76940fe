import { closeSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { FileSend, SendEnd, SendEvents, Sender, Sending } from '../core/sender.ts';
import { eventDescriptor } from './event-descriptor.ts';

/** Of the sender thread. */
interface SenderMessage {
  readonly id: number;
  readonly sent: number;
  readonly ended?: SendEnd;
}

interface Thread {
  readonly worker: Worker;
  readonly wakeFd: number;
  /** sender-worker.js */
  readonly since: Int32Array;
}

const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

/**
 * A Sender with one thread for all its connections: poll(2), then sendfile(2), or pread(2) and TLS. The thread starts
 * with the first of them.
 */
export class SocketSender implements Sender, AsyncDisposable {
  readonly #sends = new Map<number, SendEvents>();
  readonly #one = Buffer.from(BigUint64Array.of(1n).buffer);
  #thread: Thread | undefined;
  #nextId = 1;
  /** A thread that ends again and again is not started for ever. */
  #lives = 3;
  #closed = false;

  /** Sends that have not ended. */
  get running(): number {
    return this.#sends.size;
  }

  /** Seconds for which the thread has been in one call that reads a file. */
  get heldSeconds(): number {
    const since = this.#thread === undefined ? 0 : Atomics.load(this.#thread.since, 0);
    return since === 0 ? 0 : process.hrtime()[0] - since;
  }

  begin(request: FileSend, events: SendEvents): Sending | undefined {
    const thread = this.#running();
    if (thread === undefined) return undefined;
    const id = this.#nextId++;
    const control = new Int32Array(new SharedArrayBuffer(4));
    this.#sends.set(id, events);
    const { socket, tls, file, pieces, patience } = request;
    thread.worker.postMessage({ id, socket, tls, file, pieces, patience, control: control.buffer });
    this.#wake(thread);
    return {
      recall: () => {
        Atomics.store(control, 0, 1);
        this.#wake(thread);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    if (this.#thread !== undefined) await this.#end(this.#thread, new Error('the sender was closed'));
  }

  #running(): Thread | undefined {
    if (this.#closed || this.#lives === 0) return undefined;
    const wakeFd = this.#thread === undefined ? eventDescriptor() : undefined;
    if (wakeFd !== undefined) this.#thread = this.#start(wakeFd);
    return this.#thread;
  }

  #start(wakeFd: number): Thread {
    const since = new Int32Array(new SharedArrayBuffer(4));
    const url = new URL('./sender-worker.js', import.meta.url);
    const worker = new Worker(url, { workerData: { wakeFd, since: since.buffer }, resourceLimits: LIMITS });
    worker.unref();
    const thread = { worker, wakeFd, since };
    worker.on('message', (message: SenderMessage) => this.#hear(message));
    worker.once('error', (error) => void this.#end(thread, error));
    worker.once('exit', () => void this.#end(thread, new Error('the thread of the sender ended')));
    return thread;
  }

  #hear({ id, sent, ended }: SenderMessage): void {
    const events = this.#sends.get(id);
    if (events === undefined) return;
    if (sent > 0) events.sent(sent);
    if (ended === undefined) return;
    this.#sends.delete(id);
    events.ended(ended);
  }

  /** The next one starts it anew. Nothing is told lost while anything may still be sent. */
  async #end(thread: Thread, cause: Error): Promise<void> {
    if (thread !== this.#thread) return;
    this.#wake(thread);
    this.#thread = undefined;
    this.#lives--;
    const sends = [...this.#sends.values()];
    this.#sends.clear();
    await thread.worker.terminate();
    closeSync(thread.wakeFd);
    for (const events of sends) events.ended({ kind: 'lost', cause });
  }

  /** The thread may be waiting in poll(2). */
  #wake(thread: Thread): void {
    if (thread === this.#thread) writeSync(thread.wakeFd, this.#one);
  }
}
