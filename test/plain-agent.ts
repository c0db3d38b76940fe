import { createHash, randomUUID } from 'node:crypto';
import type {
  AgentCommand,
  AgentEvent,
  AgentLink,
  AgentRequest,
  AgentResponse,
  CopyReport,
  PullSource,
  UploadReport,
  WorkReport,
} from '../src/contract/link.ts';
import { HawserError } from '../src/core/errors.ts';

interface Held {
  report: UploadReport;
  readonly storeId: string;
  readonly key: string;
  readonly reserve: number;
  /** What the last startPull asked for. */
  source: PullSource | undefined;
}

/**
 * An agent that keeps the link's promises (idempotent commands, a ledger of space, reports that begin
 * with `full`) and holds no bytes: tests say what arrived. For control's tests where the wire and the
 * Stores are not the matter.
 */
export class PlainAgent implements AgentLink {
  readonly hostId = randomUUID();
  readonly stores: {
    storeId: string;
    name: string;
    capacity: number;
    free: number;
    tags: string[];
    problem: string | null;
    /** Stores with the same word share their space. */
    filesystem?: string | undefined;
  }[];
  readonly uploads = new Map<string, Held>();
  readonly work = new Map<string, WorkReport>();
  readonly copies = new Set<string>();
  readonly tickets = new Set<string>();
  readonly calls: AgentCommand[] = [];
  /** While set, every call fails with it. */
  down: HawserError | undefined;
  /** The answer to the next openUpload is lost, before or after it was done. */
  openBreaks: 'before' | 'after' | undefined;
  /** What the next finish throws. */
  refuseFinish: HawserError | undefined;
  /** What a startPull leads to by itself: all of it, a refusal, or nothing until the test says so. */
  pulls: 'done' | 'wait' | { readonly code: string; readonly message: string } = 'wait';
  /** Of sealed Copies that are not as they were sealed; key to fingerprint. */
  readonly touched = new Map<string, string>();
  /** Flat digests that were computed in passing. */
  flat: Record<string, string> = {};
  /** Control has taken the whole report that it began with, and asks for the next one. */
  met = false;
  #wake: (() => void)[] = [];
  #queue: AgentEvent[] = [];

  readonly name: string;

  constructor(
    stores: readonly { readonly name: string; readonly free: number; readonly filesystem?: string }[],
    name = 'plain',
  ) {
    this.name = name;
    this.stores = stores.map((store) => ({
      ...store,
      tags: [],
      storeId: randomUUID(),
      capacity: store.free,
      problem: null,
    }));
  }

  async call<C extends AgentCommand>(command: C, request: AgentRequest<C>): Promise<AgentResponse<C>> {
    await Promise.resolve();
    this.calls.push(command);
    if (this.down !== undefined) throw this.down;
    const breaks = command === 'openUpload' ? this.openBreaks : undefined;
    if (breaks === undefined) return this.#answer(command, request) as AgentResponse<C>;
    this.openBreaks = undefined;
    if (breaks === 'after') this.#answer(command, request);
    throw new HawserError('connection-lost', 'The agent died before it answered.');
  }

  async *events(signal: AbortSignal): AsyncIterable<AgentEvent> {
    this.#queue = [];
    yield this.full();
    this.met = true;
    while (!signal.aborted) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        yield next;
        continue;
      }
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  say(event: AgentEvent): void {
    this.#queue.push(event);
    for (const wake of this.#wake.splice(0)) wake();
  }

  full(): Extract<AgentEvent, { kind: 'full' }> {
    const stores = this.stores.map((store) => ({ ...store, driver: 'memory' }));
    const host = {
      hostId: this.hostId,
      name: this.name,
      generation: null,
      bootId: 'b',
      version: '0',
      linkVersion: 1,
      minLinkVersion: 1,
    };
    return {
      kind: 'full',
      host: { ...host, dataUrls: ['http://127.0.0.1:1/'], dataCa: null, agentUrl: null, tags: [], stores },
      uploads: [...this.uploads.values()].map((held) => held.report),
      work: [...this.work.values()],
    };
  }

  /** Bytes arrived; returns the event that tells. */
  receive(
    uploadId: string,
    receivedBytes: number,
    more: Partial<UploadReport> = {},
  ): Extract<AgentEvent, { kind: 'upload' }> {
    const held = this.#held(uploadId);
    held.report = { ...held.report, receivedBytes, activeAt: new Date().toISOString(), connections: 1, ...more };
    return { kind: 'upload', upload: held.report };
  }

  #answer(command: AgentCommand, request: unknown): unknown {
    const asked = request as AgentRequest<'openUpload'> &
      AgentRequest<'finishUpload'> &
      AgentRequest<'startWork'> &
      AgentRequest<'removeCopy'> &
      AgentRequest<'startPull'> &
      AgentRequest<'describeCopies'> &
      AgentRequest<'installTicket'>;
    switch (command) {
      case 'openUpload':
        return this.#open(asked);
      case 'describeUpload':
        return this.#held(asked.uploadId).report;
      case 'pauseUpload':
      case 'resumeUpload': {
        const held = this.#held(asked.uploadId);
        held.report = { ...held.report, state: command === 'pauseUpload' ? 'paused' : 'open' };
        return held.report;
      }
      case 'startPull':
        return this.#pull(asked);
      case 'stopPull': {
        const held = this.#held(asked.uploadId);
        held.report = { ...held.report, pull: null };
        return held.report;
      }
      case 'describeCopies':
        return { copies: asked.copies.map((copy) => this.#describe(copy)) };
      case 'finishUpload':
        return this.#finish(asked);
      case 'discardUpload':
      case 'forgetUpload':
        this.uploads.delete(asked.uploadId);
        return {};
      case 'removeCopy':
        this.copies.delete(asked.key);
        return {};
      case 'installTicket':
        this.tickets.add(asked.ticketId);
        return { expiresAt: new Date(Date.now() + asked.timeoutSeconds * 1000).toISOString() };
      case 'revokeTicket':
        this.tickets.delete(asked.ticketId);
        return {};
      case 'startWork': {
        const known = this.work.get(asked.taskId);
        const fresh = {
          taskId: asked.taskId,
          generation: asked.generation,
          state: 'running',
          doneBytes: 0,
          totalBytes: 10,
          problem: null,
          result: null,
        } as const;
        this.work.set(asked.taskId, known ?? fresh);
        return known ?? fresh;
      }
      case 'cancelWork':
      case 'forgetWork':
        this.work.delete(asked.taskId);
        return {};
      case 'pauseWork':
      case 'resumeWork': {
        const known = this.work.get(asked.taskId);
        if (known === undefined) throw new HawserError('not-found', 'no such work');
        const now = { ...known, state: command === 'pauseWork' ? 'paused' : 'running' } as const;
        this.work.set(asked.taskId, now);
        return now;
      }
      default:
        throw new HawserError('unsupported', command);
    }
  }

  #describe({ storeId, key }: { readonly storeId: string; readonly key: string }): CopyReport {
    const fingerprint = this.touched.get(key) ?? 'f';
    const numbers = { size: 1, storedSize: 1, fingerprint };
    if (this.stores.find((store) => store.storeId === storeId)?.problem != null) {
      return { storeId, key, state: 'unreachable', ...numbers };
    }
    return { storeId, key, state: this.copies.has(key) ? 'sealed' : 'absent', ...numbers };
  }

  #pull(asked: AgentRequest<'startPull'>): UploadReport {
    const held = this.#held(asked.uploadId);
    held.source = asked.source as PullSource;
    const size = asked.source.kind === 'copy' ? asked.source.size : (held.report.declaredSize ?? 10);
    if (this.pulls === 'done') {
      this.say(this.receive(asked.uploadId, size, { pull: 'done', problem: null, connections: 0 }));
    } else if (this.pulls === 'wait') {
      held.report = { ...held.report, pull: 'running', problem: null };
    } else this.say(this.receive(asked.uploadId, held.report.receivedBytes, { pull: 'failed', problem: this.pulls }));
    return held.report;
  }

  #open(asked: AgentRequest<'openUpload'>): UploadReport {
    const known = this.uploads.get(asked.uploadId);
    if (known !== undefined) return known.report;
    const store = this.stores.find((one) => one.storeId === asked.storeId);
    if (store === undefined) throw new HawserError('not-found', 'no such store');
    const promised = [...this.uploads.values()].filter((one) => one.storeId === asked.storeId);
    const taken = promised.reduce((sum, one) => sum + one.reserve, 0);
    if (taken + asked.reserve > store.free) throw new HawserError('store-full', 'the ledger says no');
    const { uploadId, generation, declaredSize, storeId, key, reserve } = asked;
    const numbers = {
      receivedBytes: 0,
      zeroBytes: 0,
      activeAt: null,
      connections: 0,
      problem: null,
      pull: null,
      sealed: null,
    };
    const report = { uploadId, generation, state: 'open', declaredSize, ...numbers } as const;
    this.uploads.set(uploadId, { report, storeId, key, reserve, source: undefined });
    return report;
  }

  #finish(asked: AgentRequest<'finishUpload'>): UploadReport {
    const held = this.#held(asked.uploadId);
    if (held.report.sealed !== null) return held.report;
    if (this.refuseFinish !== undefined) throw this.refuseFinish;
    const size = asked.size ?? held.report.receivedBytes;
    if (held.report.receivedBytes < size)
      throw new HawserError('incomplete', 'bytes are missing', { details: { missing: [] } });
    const copied = held.source?.kind === 'copy' ? held.source.treeDigest : null;
    const treeDigest = copied ?? createHash('sha256').update(asked.uploadId).digest('hex');
    if (asked.treeDigest !== null && asked.treeDigest !== treeDigest) throw new HawserError('digest-mismatch', 'tree');
    const sealed = {
      size,
      storedSize: size,
      treeDigest,
      digests: this.flat,
      format: 'raw',
      virtualSize: size,
      fingerprint: 'f',
    } as const;
    held.report = { ...held.report, state: 'sealed', sealed };
    this.copies.add(held.key);
    return held.report;
  }

  #held(uploadId: string): Held {
    const held = this.uploads.get(uploadId);
    if (held === undefined) throw new HawserError('not-found', 'no such upload');
    return held;
  }
}
