import { HawserError, isHawserError, toHawserError } from '../../core/errors.ts';
import type { Range } from '../../core/range.ts';
import type { EngineMeans } from '../../engine/incoming.ts';
import type { Store } from '../../stores/store.ts';
import { ChunkAside, removeAside } from './chunk-aside.ts';
import type { ChunkLogs, OpenListener, UploadServerListeners } from './chunk-ports.ts';
import { ChunkTable } from './chunk-table.ts';
import type { HostUpload } from './host-upload.ts';
import type { HostUploads } from './host-uploads.ts';
import type { HostLog, HostStore } from './ports.ts';
import { UploadChunks } from './upload-chunks.ts';
import type { UploadServerWire } from './upload-server-wire.ts';

/** What upload servers are made of; roles hands it in. */
export interface UploadServerMeans {
  readonly logs: ChunkLogs;
  readonly listeners: UploadServerListeners;
}

export interface UploadServersParts extends UploadServerMeans {
  readonly uploads: HostUploads;
  readonly stores: ReadonlyMap<string, HostStore>;
  readonly means: EngineMeans;
  readonly log: HostLog;
}

/** A server of a sealed Upload stays for so long, for those who coalesce or close again. */
const LINGER_MS = 30_000;

interface Server {
  readonly chunks: UploadChunks;
  readonly table: ChunkTable;
  readonly upload: HostUpload;
  listener: OpenListener | undefined;
  /** Being opened. */
  opening: Promise<OpenListener> | undefined;
}

export interface UploadServerAddress {
  readonly address: string;
  readonly port: number;
}

/** The upload servers of this host: one for each Upload that somebody sends in chunks. They are there again after a restart. */
export class UploadServers {
  readonly #parts: UploadServersParts;
  readonly #servers = new Map<string, Promise<Server>>();
  readonly #lingering = new Map<string, NodeJS.Timeout>();
  readonly #listening = new Map<string, number>();

  constructor(parts: UploadServersParts) {
    this.#parts = parts;
  }

  /** Takes up those that were open, each at its port; removes what Uploads that are gone left behind. */
  async recover(): Promise<void> {
    for (const uploadId of await this.#parts.logs.list()) {
      try {
        await this.#recoverOne(uploadId);
      } catch (error) {
        const { code, message } = toHawserError(error);
        this.#parts.log.warn({ event: 'upload-server.not-recovered', uploadId, code, reason: message });
      }
    }
  }

  /** The server of this Upload, launched when it is not there. Throws `not-found`, `unavailable` when no port is free. */
  async launch(uploadId: string): Promise<UploadServerAddress> {
    const server = await this.#server(uploadId);
    if (server.listener === undefined) {
      server.opening ??= this.#listen(uploadId, server, undefined).finally(() => {
        server.opening = undefined;
      });
    }
    const listener = server.listener ?? (await server.opening);
    if (listener === undefined)
      throw new HawserError('unavailable', 'The upload server was closed just now; try again.');
    return { address: this.#parts.listeners.address(), port: listener.port };
  }

  /** Where the server of this Upload listens; 0: it has none. */
  portOf(uploadId: string): number {
    return this.#listening.get(uploadId) ?? 0;
  }

  /** Lands what somebody sends to these ranges without chunks. See UploadChunks.besideOthers. */
  async besideOthers<T>(uploadId: string, ranges: readonly Range[], land: () => Promise<T>): Promise<T> {
    const server = await this.#servers.get(uploadId)?.catch(() => undefined);
    return server === undefined ? land() : server.chunks.besideOthers(ranges, land);
  }

  /** Finishes without what lies there by a guess. See UploadChunks.withoutGuesses. */
  async withoutGuesses<T>(uploadId: string, finish: () => Promise<T>): Promise<T> {
    const server = await this.#servers.get(uploadId)?.catch(() => undefined);
    return server === undefined ? finish() : server.chunks.withoutGuesses(finish);
  }

  /** Its port is given back; what was received stays. Repeatable. */
  async shut(uploadId: string): Promise<void> {
    const server = await this.#servers.get(uploadId)?.catch(() => undefined);
    if (server?.listener === undefined) return;
    const { listener } = server;
    server.listener = undefined;
    this.#listening.delete(uploadId);
    await server.table.setPort(0);
    await listener.close();
    this.#parts.log.info({ event: 'upload-server.closed', uploadId, port: listener.port });
  }

  /** The Upload was discarded: everything of its chunks goes. Repeatable. */
  async remove(uploadId: string): Promise<void> {
    clearTimeout(this.#lingering.get(uploadId));
    this.#lingering.delete(uploadId);
    const server = await this.#servers.get(uploadId)?.catch(() => undefined);
    if (server === undefined) return this.#removeLeft(uploadId);
    await this.shut(uploadId);
    this.#servers.delete(uploadId);
    await server.chunks.close();
    const { storeId, key } = server.upload.record;
    await this.#removeBeside(uploadId, storeId, key);
  }

  /** The Upload is sealed: its server goes when nobody asks any more. */
  sealed(uploadId: string): void {
    if (!this.#servers.has(uploadId) || this.#lingering.has(uploadId)) return;
    const timer = setTimeout(() => void this.#end(uploadId), LINGER_MS).unref();
    this.#lingering.set(uploadId, timer);
  }

  /** What was received stays, and which ports are whose. */
  async close(): Promise<void> {
    for (const timer of this.#lingering.values()) clearTimeout(timer);
    const open = await Promise.allSettled(this.#servers.values());
    this.#servers.clear();
    for (const found of open) {
      if (found.status === 'rejected') continue;
      await found.value.listener?.close();
      await found.value.chunks.close();
    }
  }

  async #recoverOne(uploadId: string): Promise<void> {
    const upload = this.#find(uploadId);
    if (upload === undefined || upload.record.state === 'sealed') return this.#removeLeft(uploadId);
    const server = await this.#server(uploadId);
    if (server.table.port !== 0) await this.#listen(uploadId, server, server.table.port);
  }

  #server(uploadId: string): Promise<Server> {
    const known = this.#servers.get(uploadId);
    if (known !== undefined) return known;
    const opening = this.#open(this.#parts.uploads.get(uploadId));
    this.#servers.set(uploadId, opening);
    opening.catch(() => this.#servers.delete(uploadId));
    return opening;
  }

  async #open(upload: HostUpload): Promise<Server> {
    const { uploadId, storeId, key } = upload.record;
    const { store } = this.#store(storeId);
    const { log, events } = await this.#parts.logs.open(uploadId);
    if (events.length === 0) await log.append([{ kind: 'opened', storeId, key }]);
    const table = new ChunkTable(log, events);
    const kept = [...table.all()].flatMap(({ place, size }) =>
      place?.kind === 'aside' ? [{ offset: place.offset, length: size }] : [],
    );
    const { means } = this.#parts;
    const room = (bytes: number) => this.#parts.uploads.mustHaveRoomFor(upload, upload.outstanding + bytes);
    const aside = new ChunkAside({ store, key, means, kept, room });
    return {
      chunks: new UploadChunks({ upload, table, aside, means }),
      table,
      upload,
      listener: undefined,
      opening: undefined,
    };
  }

  async #listen(uploadId: string, server: Server, before: number | undefined): Promise<OpenListener> {
    const wire = wireOf(server.chunks, () => {
      // The answer has to leave before the listener goes.
      setImmediate(() => void this.#end(uploadId));
    });
    for (const port of this.#candidates(before)) {
      try {
        const listener = await this.#parts.listeners.listen(wire, port);
        server.listener = listener;
        this.#listening.set(uploadId, listener.port);
        await server.table.setPort(listener.port);
        this.#parts.log.info({ event: 'upload-server.launched', uploadId, port: listener.port });
        return listener;
      } catch (error) {
        if (!isHawserError(error, 'in-use')) throw error;
      }
    }
    throw new HawserError(
      'unavailable',
      'No port is free for one more upload server (longhorn.uploadPorts). Finish or cancel other uploads, or give a larger range.',
    );
  }

  *#candidates(before: number | undefined): Iterable<number> {
    if (before !== undefined) yield before;
    yield* this.#parts.listeners.ports;
  }

  /** It is closed, and when the Upload is sealed nothing of its chunks is wanted any more. */
  async #end(uploadId: string): Promise<void> {
    try {
      const server = await this.#servers.get(uploadId);
      if (server?.upload.record.state === 'sealed') await this.remove(uploadId);
      else await this.shut(uploadId);
    } catch (error) {
      const { code, message } = toHawserError(error);
      this.#parts.log.warn({ event: 'upload-server.not-closed', uploadId, code, reason: message });
    }
  }

  async #removeLeft(uploadId: string): Promise<void> {
    const { log, events } = await this.#parts.logs.open(uploadId);
    await log[Symbol.asyncDispose]();
    const opened = events.find((event) => event.kind === 'opened');
    if (opened === undefined) await this.#parts.logs.remove(uploadId);
    else await this.#removeBeside(uploadId, opened.storeId, opened.key);
  }

  /** The log last: it says what else is to be removed. */
  async #removeBeside(uploadId: string, storeId: string, key: string): Promise<void> {
    await removeAside(this.#store(storeId).store, key);
    await this.#parts.logs.remove(uploadId);
  }

  #store(storeId: string): { readonly store: Store } {
    const host = this.#parts.stores.get(storeId);
    if (host === undefined) throw new HawserError('not-found', 'This host has no such store.');
    return host;
  }

  #find(uploadId: string): HostUpload | undefined {
    try {
      return this.#parts.uploads.get(uploadId);
    } catch (error) {
      if (isHawserError(error, 'not-found')) return undefined;
      throw error;
    }
  }
}

function wireOf(chunks: UploadChunks, ended: () => void): UploadServerWire {
  return {
    start: (size) => chunks.start(size),
    prepareChunk: (chunk) => chunks.prepareChunk(chunk),
    uploadChunk: (name, source, signal) => chunks.uploadChunk(name, source, signal),
    coalesceChunk: (whole) => chunks.coalesceChunk(whole),
    upload: (size, source, signal) => chunks.upload(size, source, signal),
    close: async () => ended(),
  };
}
