import { createHash } from 'node:crypto';
import type { AgentEvent, UploadReport } from '../../contract/link.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { sizeTextBeside } from '../../core/size-text.ts';
import type { CopyState } from '../../core/states.ts';
import { storeTitle } from '../../core/store-title.ts';
import type { HostAgent } from './host-agent.ts';
import type { NamedImage, NamedImageFolder } from './named-image-ports.ts';

/** How a named image on this host stands. */
export interface NamedImageView extends NamedImage {
  readonly state: Exclude<CopyState, 'removing' | 'removed'>;
  /** For people. */
  readonly problem: string;
  readonly size: number | null;
  /** Percent. */
  readonly progress: number;
  /** Of its upload server; 0: there is none. */
  readonly uploadPort: number;
}

export interface LaunchImage {
  readonly name: string;
  readonly imageId: string;
  /** Bytes; null: it is said when the upload starts. */
  readonly size: number | null;
  /** Name of the Store; undefined: the one with the most room. */
  readonly store: string | undefined;
}

/** Generation of what this agent opens by itself: nobody else ever takes it over. */
const OWN = 1;

/** The images of this host by name, for clients that speak to this agent and not to control. */
export class NamedImages {
  readonly #agent: HostAgent;
  readonly #folder: NamedImageFolder;
  readonly #launching = new Set<string>();

  constructor(agent: HostAgent, folder: NamedImageFolder) {
    this.#agent = agent;
    this.#folder = folder;
  }

  /** Of several by one name (copies on several Stores) the one that is furthest. */
  async list(): Promise<readonly NamedImageView[]> {
    const best = new Map<string, NamedImageView>();
    for (const image of this.#folder.all()) {
      const view = await this.#view(image);
      const other = best.get(view.name);
      if (other === undefined || rank(view) > rank(other)) best.set(view.name, view);
    }
    return [...best.values()];
  }

  /** Throws `not-found`. */
  async get(name: string): Promise<NamedImageView> {
    const found = (await this.list()).find((view) => view.name === name);
    if (found !== undefined) return found;
    throw new HawserError('not-found', `This host has no image "${name}".`);
  }

  /**
   * Opens an Upload of its own and launches its server. One that is ready under the same id is answered as it is,
   * without a server. Throws `already-exists` while one of this name is under way, or has another id.
   */
  async launch(request: LaunchImage): Promise<NamedImageView> {
    if (this.#launching.has(request.name)) throw taken(request.name);
    this.#launching.add(request.name);
    try {
      return await this.#launch(request);
    } finally {
      this.#launching.delete(request.name);
    }
  }

  /** Removing what is not there succeeds. Throws `in-use` for what control keeps. */
  async remove(name: string): Promise<void> {
    const images = this.#folder.all().filter((image) => image.name === name);
    const foreign = images.find(({ alone }) => !alone);
    if (foreign !== undefined) {
      throw new HawserError('in-use', `The image "${name}" belongs to control; remove it there.`);
    }
    for (const { uploadId, storeId, key } of images) {
      await this.#agent.call('discardUpload', { uploadId, generation: OWN });
      await this.#agent.call('removeCopy', { storeId, key });
      await this.#folder.remove({ uploadId });
    }
  }

  /** Calls `changed` after every change, until the signal fires. */
  async watch(changed: () => void, signal: AbortSignal): Promise<void> {
    const hear = (event: AgentEvent) => {
      if (event.kind === 'upload' || event.kind === 'full') changed();
    };
    await this.#agent.subscribe(hear, signal);
  }

  async #launch(request: LaunchImage): Promise<NamedImageView> {
    const known = this.#folder.all().find(({ name }) => name === request.name);
    if (known !== undefined) {
      const view = await this.#view(known);
      if (view.state !== 'failed') {
        if (view.imageId !== request.imageId) throw taken(request.name);
        if (view.state === 'ready') return view;
        if (view.uploadPort !== 0) throw taken(request.name);
        return this.#serve(known);
      }
      await this.remove(request.name);
    }
    const storeId = await this.#storeFor(request);
    const uploadId = uuidOf(request);
    const image = { name: request.name, imageId: request.imageId, uploadId, storeId, key: uploadId, alone: true };
    await this.#folder.save(image);
    await this.#agent.call('openUpload', {
      uploadId,
      generation: OWN,
      storeId,
      key: uploadId,
      declaredSize: request.size,
      maxSize: null,
      reserve: request.size ?? 0,
      format: 'auto',
      rateLimit: { task: null, user: null, userId: '' },
      digests: [],
    });
    return this.#serve(image);
  }

  async #serve(image: NamedImage): Promise<NamedImageView> {
    await this.#agent.call('launchUploadServer', { uploadId: image.uploadId, generation: OWN });
    return this.#view(image);
  }

  async #view(image: NamedImage): Promise<NamedImageView> {
    const report = await this.#report(image);
    if (report !== undefined && report.state !== 'sealed')
      return viewOf(image, report, this.#agent.uploadPort(image.uploadId));
    if (report !== undefined && image.alone) {
      // Nobody else records the seal: the journal may go now.
      await this.#agent.call('forgetUpload', { uploadId: image.uploadId, generation: OWN });
    }
    const copy = await this.#agent.call('describeCopy', { storeId: image.storeId, key: image.key });
    const ready = copy.state === 'ready';
    return {
      ...image,
      state: ready ? 'ready' : 'failed',
      problem: ready ? '' : 'The store has it no more.',
      size: copy.size,
      progress: ready ? 100 : 0,
      uploadPort: 0,
    };
  }

  async #report({ uploadId }: NamedImage): Promise<UploadReport | undefined> {
    try {
      return await this.#agent.call('describeUpload', { uploadId, generation: Number.MAX_SAFE_INTEGER });
    } catch (error) {
      if (isHawserError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  async #storeFor({ size, store: wanted }: LaunchImage): Promise<string> {
    const wantedSize = size ?? 0;
    const { stores, name } = await this.#agent.call('describe', {});
    const usable = stores.filter(({ name, problem }) => problem === null && (wanted === undefined || name === wanted));
    const [best] = [...usable].sort((a, b) => b.free - a.free);
    if (best === undefined) {
      throw new HawserError(
        'not-found',
        `This host has no store ${wanted === undefined ? 'that works' : `"${wanted}"`}.`,
      );
    }
    if (best.free < wantedSize) {
      throw new HawserError(
        'store-full',
        `No room in ${storeTitle({ name: best.name, hostName: name })}: wanted ${sizeTextBeside(wantedSize, best.free)}, free ${sizeTextBeside(best.free, wantedSize)}.`,
      );
    }
    return best.storeId;
  }
}

function viewOf(image: NamedImage, report: UploadReport, uploadPort: number): NamedImageView {
  const { state, problem, declaredSize, receivedBytes } = report;
  const live = state === 'open' || state === 'paused' || state === 'finishing';
  const share = declaredSize === null || declaredSize === 0 ? 0 : (receivedBytes / declaredSize) * 100;
  return {
    ...image,
    state: !live ? 'failed' : receivedBytes === 0 ? 'pending' : 'in-progress',
    problem: problem?.message ?? (live ? '' : `The upload is ${state}.`),
    size: declaredSize,
    progress: receivedBytes === 0 ? 0 : Math.min(99, Math.max(1, Math.floor(share))),
    uploadPort,
  };
}

const ranks = { ready: 4, 'in-progress': 3, pending: 2, unknown: 1, failed: 0 } as const;

function rank({ state }: NamedImageView): number {
  return ranks[state];
}

function taken(name: string): HawserError {
  return new HawserError('already-exists', `This host has an image "${name}" already; see how it stands.`);
}

/** The id of the Upload: always the same for one name and id, so that a repeated launch finds it. */
function uuidOf({ name, imageId }: LaunchImage): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([name, imageId]))
    .digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
