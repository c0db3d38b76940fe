import type { ByteSource } from '../../core/bytes.ts';
import { TREE_BLOCK } from '../../core/digest.ts';
import { HawserError, isHawserError } from '../../core/errors.ts';
import { type Range, rangeEnd } from '../../core/range.ts';
import { type EngineMeans, Incoming } from '../../engine/incoming.ts';
import { receiveBody } from '../../engine/receive.ts';
import type { UploadJournal } from '../../engine/upload-journal.ts';
import type { Store } from '../../stores/store.ts';
import { noRoomBeside } from './chunk-refusals.ts';

/** What lies beside an Upload may take this much more than the Upload itself. */
const SLACK = 256 * 1024 * 1024;

/**
 * The object beside an Upload (`KEY.aside` in the same Store) where chunks wait whose place is not known. Each
 * gets a stretch of its own that is never used twice, so nothing here can spoil what was kept before. Which
 * chunk lies where is in the chunk log.
 */
export class ChunkAside {
  readonly #store: Store;
  readonly #key: string;
  readonly #means: EngineMeans;
  readonly #room: (bytes: number) => Promise<void>;
  /** Of bodies that are being landed: they may not have taken their space yet. */
  #arriving = 0;
  #opening: Promise<Incoming> | undefined;
  #end: number;
  #bytes: number;

  /** `kept`: what the log says lies here. `room` throws `store-full` when so many bytes would take what is promised to Uploads. */
  constructor(parts: {
    readonly store: Store;
    readonly key: string;
    readonly means: EngineMeans;
    readonly kept: readonly Range[];
    readonly room: (bytes: number) => Promise<void>;
  }) {
    this.#store = parts.store;
    this.#key = asideKey(parts.key);
    this.#means = parts.means;
    this.#room = parts.room;
    this.#end = Math.max(0, ...parts.kept.map(rangeEnd));
    this.#bytes = parts.kept.reduce((sum, { length }) => sum + length, 0);
  }

  /**
   * Lands exactly `length` bytes of the source; answers where. Nothing stays when that fails: `digest-mismatch`,
   * `store-full`, `too-large`; other chunks may still come.
   */
  async receive(
    body: { readonly length: number; readonly sha512: Buffer; readonly declaredSize: number | null },
    source: ByteSource,
    signal: AbortSignal,
  ): Promise<number> {
    const { length } = body;
    if (body.declaredSize !== null && this.#bytes + length > body.declaredSize + SLACK) throw tooMuchAside(this.#bytes);
    const offset = Math.ceil(this.#end / TREE_BLOCK) * TREE_BLOCK;
    this.#end = offset + length;
    this.#bytes += length;
    this.#arriving += length;
    try {
      await this.#room(this.#arriving);
      const incoming = await this.#open();
      const digest = { algorithm: 'sha512', bytes: body.sha512 } as const;
      await receiveBody({ incoming, means: this.#means }, { offset, length, end: null, digest }, source, signal);
      return offset;
    } catch (error) {
      await this.free({ offset, length }).catch(() => {}); // space that is given back when the Upload ends
      throw isHawserError(error, 'store-full') ? noRoomBeside(error) : error;
    } finally {
      this.#arriving -= length;
    }
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    await (await this.#open()).writer.read(into, offset);
  }

  /** Gives the space back. */
  async free(range: Range): Promise<void> {
    this.#bytes -= range.length;
    const incoming = await this.#open();
    await incoming.discard([range]);
    await incoming.writer.zero(range);
  }

  /** What was kept stays. */
  async close(): Promise<void> {
    const incoming = await this.#opening?.catch(() => undefined);
    await incoming?.quiet();
    await incoming?.writer[Symbol.asyncDispose]();
  }

  /** One that could not be synced is opened anew: what it lost is found when it is compared with its checksum. */
  async #open(): Promise<Incoming> {
    const opened = this.#opening;
    const failed = await opened?.then(
      ({ failure }) => failure !== undefined,
      () => false,
    );
    if (failed === true && this.#opening === opened) {
      this.#opening = opened?.then(async (incoming) => {
        await incoming.quiet();
        await incoming.writer[Symbol.asyncDispose]();
        return this.#openNow();
      });
    }
    return this.#opened();
  }

  #opened(): Promise<Incoming> {
    const opening = this.#opening ?? this.#openNow();
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }

  async #openNow(): Promise<Incoming> {
    const there = await this.#store.stat(this.#key);
    const writer =
      there.kind === 'writing' ? await this.#store.reopen(this.#key) : await this.#store.create({ key: this.#key });
    return Incoming.open({ writer, journal: noJournal, means: this.#means, boot: Buffer.alloc(32) });
  }
}

/** Removes what lies beside an Upload. Repeatable. */
export async function removeAside(store: Store, key: string): Promise<void> {
  await store.remove(asideKey(key));
}

function asideKey(key: string): string {
  return `${key}.aside`;
}

/** The chunk log is the record of what lies here; which blocks were written when is nobody's concern. */
const noJournal: UploadJournal = {
  append: async () => {},
  sync: async () => {},
  async *records() {},
};

function tooMuchAside(bytes: number): HawserError {
  return new HawserError(
    'too-large',
    `${bytes} bytes of chunks wait for others already, because nobody can say where they belong. Send the chunks with the lowest indexes first.`,
  );
}
