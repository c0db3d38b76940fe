import { isDeepStrictEqual } from 'node:util';
import type { PullSource, UploadReport } from '../../contract/link.ts';
import { Slots } from '../../core/slots.ts';
import { CopyPull } from './copy-pull.ts';
import type { HostCopies } from './host-copies.ts';
import type { HostUpload } from './host-upload.ts';
import type { HostUploads } from './host-uploads.ts';
import { localCopy } from './local-copy.ts';
import type { OpenPeer, OpenUrl } from './ports.ts';
import { isWhole, Pull, type PullPatience, type PullWork, type Standing } from './pull.ts';
import { UrlPull } from './url-pull.ts';

export interface PullMeans {
  readonly openPeer: OpenPeer;
  readonly openUrl: OpenUrl;
  readonly patience: PullPatience;
  /** How many files may be unpacked at once; each has a thread, and needs up to 128 MiB. */
  readonly unpackAtOnce: number;
}

export interface HostPullsParts {
  readonly means: PullMeans;
  readonly copies: HostCopies;
  readonly uploads: HostUploads;
  readonly changed: (uploadId: string) => void;
  /** It is done or has failed: control waits for that. */
  readonly ended: (uploadId: string) => void;
}

/** What this agent fetches by itself. Nothing of it survives a restart: control starts it again. */
export class HostPulls {
  readonly #parts: HostPullsParts;
  readonly #pulls = new Map<string, { readonly source: PullSource; readonly pull: Pull }>();
  /** What is started and stopped for one Upload, one after the other: two that run at once would fetch into it both. */
  readonly #unpacking: Slots;
  readonly #turns = new Map<string, Promise<void>>();
  #closed = false;

  constructor(parts: HostPullsParts) {
    this.#parts = parts;
    this.#unpacking = new Slots(parts.means.unpackAtOnce);
  }

  /** Begins, or goes on from another source. The same source again changes nothing unless it had failed, or bytes were discarded since. */
  start(upload: HostUpload, source: PullSource): Promise<void> {
    return this.#inTurn(upload.record.uploadId, () => this.#start(upload, source));
  }

  /** Resolves when nothing of it runs any more. Repeatable. */
  stop(uploadId: string): Promise<void> {
    return this.#inTurn(uploadId, () => this.#stop(uploadId));
  }

  wake(uploadId: string): void {
    this.#pulls.get(uploadId)?.pull.wake();
  }

  /** The report with how the fetching stands. */
  over(report: UploadReport): UploadReport {
    return this.#pulls.get(report.uploadId)?.pull.over(report) ?? report;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...new Set([...this.#pulls.keys(), ...this.#turns.keys()])].map((id) => this.stop(id)));
  }

  async #start(upload: HostUpload, source: PullSource): Promise<void> {
    const { uploadId } = upload.record;
    const known = this.#pulls.get(uploadId);
    if (known !== undefined && isGoingWell(known.pull, upload) && isDeepStrictEqual(known.source, source)) return;
    await this.#stop(uploadId);
    const { state } = upload.record;
    if (this.#closed || state === 'sealed' || state === 'finishing') return;
    const { means, changed, ended } = this.#parts;
    const tell = (standing: Standing) =>
      standing === 'done' || standing === 'failed' ? ended(uploadId) : changed(uploadId);
    const about = { patience: means.patience, changed: tell };
    this.#pulls.set(uploadId, { source, pull: new Pull(upload, this.#workOf(upload, source), about) });
  }

  async #stop(uploadId: string): Promise<void> {
    const known = this.#pulls.get(uploadId);
    this.#pulls.delete(uploadId);
    await known?.pull.stop();
  }

  async #inTurn(uploadId: string, act: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(uploadId) ?? Promise.resolve();
    const mine = before.catch(() => {}).then(act); // its own caller heard of its failure
    this.#turns.set(uploadId, mine);
    try {
      await mine;
    } finally {
      if (this.#turns.get(uploadId) === mine) this.#turns.delete(uploadId);
    }
  }

  #workOf(upload: HostUpload, source: PullSource): PullWork {
    const { means, copies, uploads } = this.#parts;
    if (source.kind === 'url') {
      return new UrlPull({
        upload,
        file: means.openUrl(source.url),
        decompress: source.decompress,
        unpacking: this.#unpacking,
        mustHaveRoom: (bytes) => uploads.mustHaveRoomFor(upload, bytes),
        capacity: () => uploads.capacityFor(upload),
      });
    }
    const { size, treeDigest, local } = source;
    const copy = local === null ? means.openPeer(source) : localCopy(copies, local);
    return new CopyPull({ upload, copy, size, treeDigest });
  }
}

/** It fetches, or has fetched everything that is wanted. */
function isGoingWell({ standing }: Pull, upload: HostUpload): boolean {
  return standing === 'done' ? upload.record.state !== 'open' || isWhole(upload) : standing !== 'failed';
}
