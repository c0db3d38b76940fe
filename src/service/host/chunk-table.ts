import { HawserError } from '../../core/errors.ts';
import { ChunkLayout } from './chunk-layout.ts';
import type { ChunkEvent, ChunkLog, Unlanded } from './chunk-ports.ts';

/** What is known of one chunk. */
export interface KnownChunk {
  readonly index: number;
  readonly size: number;
  readonly checksum: string;
  /** Where its bytes are; undefined: not here. */
  readonly place: ChunkPlace | undefined;
  /** Its bytes were compared with the checksum since the agent started. */
  readonly verified: boolean;
  /** Where its bytes lay in the Upload by mistake and have still to be discarded. */
  readonly leaving: number | undefined;
}
export type ChunkPlace =
  | { readonly kind: 'placed'; readonly offset: number; readonly how?: Unlanded | undefined }
  | { readonly kind: 'aside'; readonly offset: number };

/** Records of one Upload; each takes memory and a line of the log. */
const MOST_CHUNKS = 1_000_000;

/** The chunks of one Upload, in memory and in the log. */
export class ChunkTable implements AsyncDisposable {
  readonly layout = new ChunkLayout();
  readonly #chunks = new Map<number, KnownChunk>();
  readonly #aside = new Set<number>();
  readonly #log: ChunkLog;
  #port = 0;

  constructor(log: ChunkLog, events: readonly ChunkEvent[]) {
    this.#log = log;
    for (const event of events) this.#apply(event, false);
  }

  get(index: number): KnownChunk | undefined {
    return this.#chunks.get(index);
  }

  all(): Iterable<KnownChunk> {
    return this.#chunks.values();
  }

  /** The first of those below `count` whose bytes are not here, `most` of them. */
  missingBelow(count: number, most: number): readonly number[] {
    const missing: number[] = [];
    for (let index = 0; index < count && missing.length < most; index++) {
      if (this.get(index)?.place === undefined) missing.push(index);
    }
    return missing;
  }

  /** Indexes of the chunks that wait beside the Upload for their place. */
  get aside(): ReadonlySet<number> {
    return this.#aside;
  }

  /** The port that its server listened at last; 0: none. */
  get port(): number {
    return this.#port;
  }

  async setPort(port: number): Promise<void> {
    if (port !== this.#port) await this.#record({ kind: 'port', port });
  }

  async prepared(chunk: { readonly index: number; readonly size: number; readonly checksum: string }): Promise<void> {
    if (!this.#chunks.has(chunk.index) && this.#chunks.size >= MOST_CHUNKS) {
      throw new HawserError('too-many', `An upload has at most ${MOST_CHUNKS} chunks. Send larger ones.`);
    }
    const { index, size, checksum } = chunk;
    await this.#record({ kind: 'prepared', index, size, checksum });
  }

  async placed(index: number, offset: number, how?: Unlanded): Promise<void> {
    await this.#record({ kind: 'placed', index, offset, how });
  }

  /** `from`: its bytes have still to be discarded there; `left` when that is done. */
  async putAside(index: number, offset: number, from?: number): Promise<void> {
    await this.#record({ kind: 'aside', index, offset, from });
  }

  async left(index: number): Promise<void> {
    await this.#record({ kind: 'left', index });
  }

  async dropped(index: number): Promise<void> {
    await this.#record({ kind: 'dropped', index });
  }

  verified(index: number): void {
    const chunk = this.#chunks.get(index);
    if (chunk !== undefined) this.#chunks.set(index, { ...chunk, verified: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log[Symbol.asyncDispose]();
  }

  async #record(event: ChunkEvent): Promise<void> {
    await this.#log.append([event]);
    this.#apply(event, true);
  }

  /** `now`: it happened just now, so its bytes have been looked at. */
  #apply(event: ChunkEvent, now: boolean): void {
    switch (event.kind) {
      case 'opened':
        return;
      case 'port':
        this.#port = event.port;
        return;
      case 'prepared': {
        const { index, size, checksum } = event;
        this.#set({ index, size, checksum, place: undefined, verified: false, leaving: undefined });
        this.layout.set(index, size);
        return;
      }
      case 'placed':
        this.#change(event.index, {
          place: { kind: 'placed', offset: event.offset, how: event.how },
          verified: now && event.how !== 'landing',
        });
        return;
      case 'aside':
        this.#change(event.index, {
          place: { kind: 'aside', offset: event.offset },
          verified: now,
          leaving: event.from,
        });
        return;
      case 'left':
        this.#change(event.index, { leaving: undefined });
        return;
      case 'dropped':
        this.#change(event.index, { place: undefined, verified: false });
    }
  }

  #change(index: number, change: Partial<KnownChunk>): void {
    const chunk = this.#chunks.get(index);
    if (chunk !== undefined) this.#set({ ...chunk, ...change });
  }

  #set(chunk: KnownChunk): void {
    this.#chunks.set(chunk.index, chunk);
    if (chunk.place?.kind === 'aside') this.#aside.add(chunk.index);
    else this.#aside.delete(chunk.index);
  }
}
