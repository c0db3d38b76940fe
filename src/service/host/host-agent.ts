import {
  type AgentCommand,
  type AgentEvent,
  type AgentRequest,
  type AgentResponse,
  type CopyReport,
  type HostReport,
  LINK_VERSION,
  MIN_LINK_VERSION,
  type PullSource,
  type StoreReport,
  type UploadReport,
} from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { EngineMeans } from '../../engine/incoming.ts';
import { TokenBucket } from '../../engine/rate-limit.ts';
import { AgentEvents } from './agent-events.ts';
import type { DataPlane } from './data-plane.ts';
import { HostCopies } from './host-copies.ts';
import { HostPulls, type PullMeans } from './host-pulls.ts';
import { HostTickets } from './host-tickets.ts';
import type { HostUpload } from './host-upload.ts';
import { HostUploads } from './host-uploads.ts';
import { HostWork } from './host-work.ts';
import type { NamedImageFolder } from './named-image-ports.ts';
import type { HostLog, HostStore, StateFolder } from './ports.ts';
import type { FinishWanted } from './upload-refusals.ts';
import { type UploadServerMeans, UploadServers } from './upload-servers.ts';

export interface HostAgentParts {
  readonly hostId: string;
  readonly name: string;
  readonly bootId: string;
  readonly version: string;
  readonly dataUrls: () => readonly string[];
  /** How it is reached, and how it belongs to a control elsewhere; what is left out is so for control's own process. */
  readonly membership?: (() => Partial<Membership>) | undefined;
  readonly stores: readonly HostStore[];
  readonly state: StateFolder;
  readonly means: EngineMeans;
  /** Taken up already; undefined: a table that ends with the process. */
  readonly tickets?: HostTickets | undefined;
  /** Bytes per second over everything. */
  readonly totalRate: number | null;
  /** What it fetches by itself with; undefined: it does not. */
  readonly pulls?: PullMeans | undefined;
  /** What takes Uploads in chunks; undefined: nothing does. */
  readonly uploadServers?: UploadServerMeans | undefined;
  /** Where names are kept, for clients that do not know control. */
  readonly named?: NamedImageFolder | undefined;
  readonly now: () => Date;
  readonly monotonic: () => number;
  readonly log: HostLog;
}

/** What an agent says of itself beside its Stores. */
export interface Membership {
  readonly agentUrl: string | null;
  readonly dataCa: string | null;
  readonly tags: readonly string[];
  readonly generation: number;
  readonly linkVersion: number;
  readonly minLinkVersion: number;
}

type Handlers = { readonly [C in AgentCommand]: (request: AgentRequest<C>) => Promise<AgentResponse<C>> };

type UploadCommand = Extract<AgentCommand, `${string}Upload` | `${string}Pull`> | 'launchUploadServer';

/** An agent: its Uploads, Copies, tickets and work, behind the commands of the link and the data plane. */
export class HostAgent {
  readonly tickets: HostTickets;
  readonly plane: DataPlane;
  readonly #parts: HostAgentParts;
  readonly #events = new AgentEvents();
  readonly #uploads: HostUploads;
  readonly #copies: HostCopies;
  readonly #work: HostWork;
  readonly #servers: UploadServers | undefined;
  readonly #pulls: HostPulls | undefined;
  readonly #handlers: Handlers;

  private constructor(parts: HostAgentParts) {
    this.#parts = parts;
    const stores = new Map(parts.stores.map((store) => [store.storeId, store]));
    const totalLimit = parts.totalRate === null ? undefined : new TokenBucket(parts.totalRate, parts.monotonic);
    const shared = { stores, state: parts.state, means: parts.means, totalLimit };
    this.tickets = parts.tickets ?? HostTickets.inMemory(parts.monotonic, parts.means.slabs);
    this.#uploads = new HostUploads({
      ...shared,
      hostName: parts.name,
      now: parts.now,
      monotonic: parts.monotonic,
      log: parts.log,
      changed: (uploadId) => this.#events.upload(uploadId, () => this.#reportOf(uploadId)),
    });
    this.#copies = new HostCopies(shared);
    this.#work = new HostWork({
      copies: this.#copies,
      state: parts.state,
      means: parts.means,
      changed: (report) => this.#events.work(report),
    });
    this.#pulls =
      parts.pulls &&
      new HostPulls({
        means: parts.pulls,
        copies: this.#copies,
        uploads: this.#uploads,
        changed: (uploadId) => this.#events.upload(uploadId, () => this.#reportOf(uploadId)),
        ended: (uploadId) => this.#events.uploadEnded(uploadId, () => this.#reportOf(uploadId)),
      });
    this.#servers =
      parts.uploadServers &&
      new UploadServers({ ...shared, ...parts.uploadServers, uploads: this.#uploads, log: parts.log });
    this.plane = planeOf(this.#uploads, this.#copies, this.#servers);
    this.#handlers = this.#handlersOf();
  }

  /** Takes up what a crash left. */
  static async start(parts: HostAgentParts): Promise<HostAgent> {
    const agent = new HostAgent(parts);
    await agent.#uploads.recover();
    await agent.#servers?.recover();
    return agent;
  }

  /** Of the upload server of this Upload; 0: there is none. */
  uploadPort(uploadId: string): number {
    return this.#servers?.portOf(uploadId) ?? 0;
  }

  /** Requests must have been parsed with the command's schema. */
  call<C extends AgentCommand>(command: C, request: AgentRequest<C>): Promise<AgentResponse<C>> {
    return this.#handlers[command](request);
  }

  /** Tells `full` at once, then every change, and `alive` or the stores at least every two seconds. */
  async subscribe(listener: (event: AgentEvent) => void, signal: AbortSignal): Promise<void> {
    const held: AgentEvent[] = [];
    let open = false;
    const leave = this.#events.subscribe((event) => (open ? listener(event) : held.push(event)));
    signal.addEventListener('abort', leave, { once: true });
    listener({
      kind: 'full',
      host: await this.#describe(),
      uploads: this.#uploads.reports().map((report) => this.#told(report)),
      work: [...this.#work.reports()],
    });
    open = true;
    for (const event of held) listener(event);
    const pulse = setInterval(this.#pulseOf(listener), 2000).unref();
    signal.addEventListener('abort', () => clearInterval(pulse), { once: true });
    if (signal.aborted) clearInterval(pulse);
  }

  /**
   * Another process has this host now: for good, no byte is taken, given or fetched any more, with `reason`.
   * What was received stays.
   */
  async fence(reason: HawserError): Promise<void> {
    this.tickets.refuse(reason);
    this.#work.close();
    await this.#pulls?.close();
    await this.#uploads.close(reason);
  }

  async close(): Promise<void> {
    this.#events.close();
    this.#work.close();
    await this.#pulls?.close();
    await this.#uploads.close();
    await this.#servers?.close();
  }

  #handlersOf(): Handlers {
    return { ...this.#uploadHandlers(), ...this.#hostHandlers() };
  }

  #uploadHandlers(): Pick<Handlers, UploadCommand> {
    const uploads = this.#uploads;
    return {
      openUpload: async (request) => {
        const upload = await uploads.open(request);
        const { uploadId, storeId, key, image } = request;
        if (image) {
          await this.#parts.named?.save({ name: image.name, imageId: image.id, uploadId, storeId, key, alone: false });
        }
        return this.#told(upload.report());
      },
      describeUpload: async ({ uploadId, generation }) => this.#told(uploads.fenced(uploadId, generation).report()),
      pauseUpload: async ({ uploadId, generation }) => {
        const upload = uploads.fenced(uploadId, generation);
        await upload.pause();
        return this.#told(upload.report());
      },
      resumeUpload: async ({ uploadId, generation }) => {
        const upload = uploads.fenced(uploadId, generation);
        await upload.resume();
        this.#pulls?.wake(uploadId);
        return this.#told(upload.report());
      },
      finishUpload: async ({ uploadId, generation, size, treeDigest }) => {
        const upload = uploads.fenced(uploadId, generation);
        await this.#finish(upload, { size, treeDigest });
        return this.#told(upload.report());
      },
      discardUpload: async ({ uploadId, generation }) => {
        await uploads.discard(uploadId, generation);
        await this.#servers?.remove(uploadId);
        await this.#parts.named?.remove({ uploadId });
        await this.#pulls?.stop(uploadId);
        return {};
      },
      forgetUpload: async ({ uploadId }) => {
        await uploads.forget(uploadId);
        this.#servers?.sealed(uploadId);
        await this.#pulls?.stop(uploadId);
        return {};
      },
      startPull: async ({ uploadId, generation, source }) => this.#fetch(uploads.fenced(uploadId, generation), source),
      stopPull: async ({ uploadId, generation }) => this.#fetch(uploads.fenced(uploadId, generation), undefined),
      launchUploadServer: async ({ uploadId, generation }) => {
        uploads.fenced(uploadId, generation);
        if (this.#servers !== undefined) return this.#servers.launch(uploadId);
        throw new HawserError('unsupported', 'This agent was started without upload servers.');
      },
    };
  }

  /** A digest of the whole says whether guessed chunks lie right; without one, or when it says no, they do not count. */
  async #finish(upload: HostUpload, wanted: FinishWanted): Promise<void> {
    const finish = () => upload.finish(wanted);
    const certain = () => this.#servers?.withoutGuesses(upload.record.uploadId, finish) ?? finish();
    if (wanted.treeDigest === null) return certain();
    await finish().catch((error: unknown) => {
      if (!isHawserError(error, 'digest-mismatch')) throw error;
      return certain();
    });
  }

  #hostHandlers(): Omit<Handlers, UploadCommand> {
    return {
      describe: () => this.#describe(),
      installTicket: async ({ ticketId, subject, ops, timeoutSeconds }) => {
        await this.tickets.install(ticketId, { subject, ops, timeoutMs: timeoutSeconds * 1000 });
        return { expiresAt: new Date(this.#parts.now().getTime() + timeoutSeconds * 1000).toISOString() };
      },
      revokeTicket: async ({ ticketId }) => {
        await this.tickets.revoke(ticketId);
        return {};
      },
      describeCopy: ({ storeId, key }) => this.#describeCopy(storeId, key),
      removeCopy: async ({ storeId, key }) => {
        await this.#copies.remove(storeId, key);
        await this.#parts.named?.remove({ storeId, key });
        return {};
      },
      describeCopies: async ({ copies }) => ({
        copies: await Promise.all(copies.map(({ storeId, key }) => this.#reportCopy(storeId, key))),
      }),
      startWork: async (request) => this.#work.start(request),
      pauseWork: async ({ taskId }) => this.#work.pause(taskId),
      resumeWork: async ({ taskId }) => this.#work.resume(taskId),
      cancelWork: async ({ taskId }) => {
        this.#work.cancel(taskId);
        return {};
      },
      forgetWork: async ({ taskId }) => {
        this.#work.forget(taskId);
        return {};
      },
    };
  }

  #told(report: UploadReport): UploadReport {
    return this.#pulls?.over(report) ?? report;
  }

  async #fetch(upload: HostUpload, source: PullSource | undefined): Promise<UploadReport> {
    const pulls = this.#pulls;
    if (pulls === undefined)
      throw new HawserError('unsupported', 'This agent was started without the means to fetch by itself.');
    await (source === undefined ? pulls.stop(upload.record.uploadId) : pulls.start(upload, source));
    return this.#told(upload.report());
  }

  async #describe(): Promise<HostReport> {
    const { hostId, name, bootId, version, membership } = this.#parts;
    const { agentUrl, dataCa, tags, generation, linkVersion, minLinkVersion } = { ...inThisProcess, ...membership?.() };
    return {
      hostId,
      name,
      bootId,
      version,
      linkVersion,
      minLinkVersion,
      dataUrls: [...this.#parts.dataUrls()],
      dataCa,
      agentUrl,
      tags: [...tags],
      generation,
      stores: await this.#storeReports(),
    };
  }

  async #describeCopy(storeId: string, key: string): Promise<AgentResponse<'describeCopy'>> {
    const stat = await this.#copies.store(storeId).store.stat(key);
    if (stat.kind === 'sealed')
      return { state: 'ready', size: stat.size, storedSize: stat.storedSize, fingerprint: stat.fingerprint };
    const storedSize = stat.kind === 'writing' ? stat.storedSize : 0;
    return { state: stat.kind === 'writing' ? 'in-progress' : 'removed', size: 0, storedSize, fingerprint: '' };
  }

  /** A Store that cannot be asked says nothing about what lies on it. */
  async #reportCopy(storeId: string, key: string): Promise<CopyReport> {
    const about = { storeId, key };
    try {
      const stat = await this.#copies.store(storeId).store.stat(key);
      if (stat.kind === 'sealed') {
        const { size, storedSize, fingerprint } = stat;
        return { ...about, state: 'sealed', size, storedSize, fingerprint };
      }
      return { ...about, state: stat.kind, size: 0, storedSize: 0, fingerprint: '' };
    } catch (error) {
      if (!isHawserError(error)) throw error;
      return { ...about, state: 'unreachable', size: 0, storedSize: 0, fingerprint: '' };
    }
  }

  #storeReports(): Promise<StoreReport[]> {
    return Promise.all(
      this.#parts.stores.map(async ({ storeId, name, store, tags = [] }) => {
        const about = { storeId, name, driver: store.kind, tags: [...tags] };
        try {
          return { ...about, ...(await store.usage()), problem: null };
        } catch (error) {
          return { ...about, capacity: 0, free: 0, problem: error instanceof Error ? error.message : String(error) };
        }
      }),
    );
  }

  /** One look at the Stores at a time: while one that hangs has not answered it says only that the agent lives. */
  #pulseOf(listener: (event: AgentEvent) => void): () => void {
    let looking = false;
    const look = async () => {
      looking = true;
      try {
        listener({ kind: 'stores', stores: await this.#storeReports() });
      } finally {
        looking = false;
      }
    };
    return () => {
      if (looking) listener({ kind: 'alive', at: this.#parts.now().toISOString() });
      else void look();
    };
  }

  #reportOf(uploadId: string) {
    try {
      return this.#told(this.#uploads.get(uploadId).report());
    } catch (error) {
      if (isHawserError(error, 'not-found')) return undefined;
      throw error;
    }
  }
}

const inThisProcess: Omit<Membership, 'generation'> & { readonly generation: number | null } = {
  agentUrl: null,
  dataCa: null,
  tags: [],
  generation: null,
  linkVersion: LINK_VERSION,
  minLinkVersion: MIN_LINK_VERSION,
};

function planeOf(uploads: HostUploads, copies: HostCopies, servers: UploadServers | undefined): DataPlane {
  const beside = <T>(uploadId: string, ranges: readonly Range[], land: () => Promise<T>) =>
    servers === undefined ? land() : servers.besideOthers(uploadId, ranges, land);
  return {
    admit: (uploadId, request) => uploads.get(uploadId).admit(request),
    receive: async (uploadId, request, source, signal) => {
      const range = { offset: request.offset, length: request.length ?? Number.MAX_SAFE_INTEGER - request.offset };
      return beside(uploadId, [range], () => uploads.get(uploadId).receive(request, source, signal));
    },
    zeros: async (uploadId, ranges) => beside(uploadId, ranges, () => uploads.get(uploadId).zeros(ranges)),
    discard: async (uploadId, ranges) => uploads.get(uploadId).discard(ranges),
    ranges: async (uploadId) => uploads.get(uploadId).ranges(),
    uploadLeaves: async (uploadId, first, count) => uploads.get(uploadId).leaves(first, count),
    openCopy: (storeId, key) => copies.open(storeId, key),
  };
}
