import type { UploadReport } from '../../contract/link.ts';

/** The newest numbers of an Upload, from its agent's reports. The database gets them every few seconds. */
export interface LiveUpload {
  readonly uploadId: string;
  readonly taskId: string;
  readonly imageId: string;
  readonly copyId: string;
  readonly storeId: string;
  readonly hostId: string;
  /** Its agent fetches it by itself. */
  readonly fetched: boolean;
  receivedBytes: number;
  zeroBytes: number;
  declaredSize: number | null;
  connections: number;
  /** How its agent's own fetching stands. */
  pull: UploadReport['pull'];
  /** When the last byte came, by our clock; undefined: none since we know it. */
  bytesAt: Date | undefined;
  /** What its Task is known to be; anything else is asked of the database. */
  phase: 'running' | 'other';
  dirty: boolean;
  /** Whether bytes came since the last write. */
  active: boolean;
  writtenAt: number;
  samples: { readonly at: number; readonly bytes: number }[];
}

const RATE_WINDOW = 5_000;

const fresh = {
  declaredSize: null,
  connections: 0,
  pull: null,
  phase: 'other',
  dirty: false,
  active: false,
  writtenAt: 0,
} as const;

export class LiveUploads {
  readonly #uploads = new Map<string, LiveUpload>();

  get(uploadId: string): LiveUpload | undefined {
    return this.#uploads.get(uploadId);
  }

  ofCopy(copyId: string): LiveUpload | undefined {
    for (const upload of this.#uploads.values()) if (upload.copyId === copyId) return upload;
    return undefined;
  }

  all(): Iterable<LiveUpload> {
    return this.#uploads.values();
  }

  delete(uploadId: string): void {
    this.#uploads.delete(uploadId);
  }

  add(upload: Omit<LiveUpload, keyof typeof fresh | 'bytesAt' | 'samples'>, now: Date): LiveUpload {
    const made: LiveUpload = {
      ...upload,
      ...fresh,
      bytesAt: now,
      samples: [{ at: now.getTime(), bytes: upload.receivedBytes }],
    };
    this.#uploads.set(upload.uploadId, made);
    return made;
  }

  /** Takes a report; true when bytes came. */
  take(upload: LiveUpload, report: UploadReport, now: Date): boolean {
    const grew = report.receivedBytes > upload.receivedBytes;
    const changed = report.receivedBytes !== upload.receivedBytes || report.zeroBytes !== upload.zeroBytes;
    upload.receivedBytes = report.receivedBytes;
    upload.zeroBytes = report.zeroBytes;
    upload.declaredSize = report.declaredSize;
    upload.connections = report.connections;
    upload.pull = report.pull;
    upload.dirty ||= changed;
    if (grew) {
      upload.bytesAt = now;
      upload.active = true;
    }
    if (changed) {
      upload.samples.push({ at: now.getTime(), bytes: report.receivedBytes });
      this.#trim(upload, now);
    }
    return grew;
  }

  /** Bytes per second over the last five seconds; null when nothing moves. */
  rate(uploadId: string, now: Date): number | null {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined) return null;
    this.#trim(upload, now);
    const first = upload.samples[0];
    if (first === undefined || upload.bytesAt === undefined) return null;
    const bytes = upload.receivedBytes - first.bytes;
    const time = now.getTime() - first.at;
    if (bytes <= 0 || time <= 0 || now.getTime() - upload.bytesAt.getTime() > RATE_WINDOW) return null;
    return Math.round((bytes * 1000) / time);
  }

  /** Keeps the last sample before the window, so that the window is always measured whole. */
  #trim(upload: LiveUpload, now: Date): void {
    const from = now.getTime() - RATE_WINDOW;
    while (upload.samples.length > 1 && (upload.samples[1]?.at ?? from) < from) upload.samples.shift();
  }
}
