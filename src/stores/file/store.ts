import { HawserError } from '../../core/errors.ts';
import { allocate, punchHole } from '../../native/allocate.ts';
import { libc } from '../../native/libc.ts';
import { checkKey } from '../key.ts';
import type { BlockReader, BlockWriter, CreateRequest, ObjectStat, Store, StoreTraits, StoreUsage } from '../store.ts';
import { CREATE, closeFile, openFile, READ, READ_WRITE, statExactly, truncateFile } from './descriptor.ts';
import { errnoOf, fileFailure } from './failure.ts';
import { type FileFacts, Folder, factsOf } from './folder.ts';
import { FileReader } from './reader.ts';
import { FileWriter } from './writer.ts';
import { ZeroLadder, type ZeroRung, zeroRungs } from './zero-ladder.ts';

export interface FileStoreOptions {
  /** For messages. */
  readonly name: string;
  /** Its folder; made when missing. Belongs to this Store alone, and to one process at a time. */
  readonly path: string;
  /** What is tried before zeros are written; for filesystems that do one of them badly. */
  readonly zeroRungs?: readonly ZeroRung[];
}

/** Objects as files of one folder. Layout and durability: docs/stores/file.md. */
export async function openFileStore(options: FileStoreOptions): Promise<Store> {
  try {
    return new FileStore(options, await Folder.open(options.name, options.path));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR')
      throw fileFailure(error, options.name, 'use its folder');
    throw new HawserError(
      'store-failed',
      `The Store "${options.name}" cannot make its folder ${options.path} (${errnoOf(error)}). Make it, mount it, or give another path.`,
      { cause: error },
    );
  }
}

/** Bytes allocated at once. */
const ALLOCATE = 1024 * 1024 * 1024;

class FileStore implements Store {
  readonly kind = 'file';
  readonly traits: StoreTraits;
  readonly #name: string;
  readonly #folder: Folder;
  readonly #ladder: ZeroLadder;
  /** One writer a key, from before its file is opened until it is closed. */
  readonly #writers = new Map<string, Promise<FileWriter>>();

  constructor(options: FileStoreOptions, folder: Folder) {
    this.#name = options.name;
    this.#folder = folder;
    const rungs = libc() === undefined ? [] : (options.zeroRungs ?? zeroRungs);
    this.#ladder = new ZeroLadder(rungs);
    this.traits = {
      sizeHint: 'useful',
      zero: rungs.length > 0 ? 'native' : 'emulated',
      unmap: rungs.includes(punchHole) ? 'native' : 'none',
      extents: libc() === undefined ? 'none' : 'native',
      resize: 'native',
      snapshots: 'none',
    };
  }

  async create(request: CreateRequest): Promise<BlockWriter> {
    checkKey(request.key);
    if (this.#writers.has(request.key)) throw this.#taken('is being written');
    return this.#claim(request.key, () => this.#create(request));
  }

  async reopen(key: string): Promise<BlockWriter> {
    checkKey(key);
    if (this.#writers.has(key)) {
      await this.#checkUnsealed(key);
      throw new HawserError('in-use', `The key has an open writer in the Store "${this.#name}". Close it first.`);
    }
    return this.#claim(key, () => this.#reopen(key));
  }

  async open(key: string): Promise<BlockReader> {
    checkKey(key);
    const { fd, facts } = await this.#openFile('objects', key, READ);
    return new FileReader(this.#name, fd, facts);
  }

  async clone(from: string, to: string): Promise<void> {
    checkKey(from);
    const { fd, facts } = await this.#openFile('objects', from, READ);
    try {
      checkKey(to);
      if (this.#writers.has(to)) throw this.#taken('is being written');
      await using writer = await this.#claim(to, () => this.#create({ key: to }));
      try {
        await writer.fillFrom(fd, facts.size);
        await writer.seal(facts.size);
      } catch (error) {
        await writer.discard();
        throw error;
      }
    } finally {
      await closeFile(fd);
    }
  }

  async stat(key: string): Promise<ObjectStat> {
    checkKey(key);
    // In the order of a file's life: one that is sealed in between is found at its second place.
    const written = await this.#folder.look('incoming', key);
    const sealed = await this.#folder.look('objects', key);
    if (sealed !== undefined) {
      const { size, storedSize, fingerprint } = sealed;
      return { kind: 'sealed', size, storedSize, fingerprint };
    }
    return written === undefined ? { kind: 'absent' } : { kind: 'writing', storedSize: written.storedSize };
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    const writer = await this.#writers.get(key)?.catch(() => undefined);
    try {
      await writer?.abandon();
      const wasWritten = await this.#folder.unlink('incoming', key);
      const wasSealed = await this.#folder.unlink('objects', key);
      if (wasWritten) await this.#folder.sync('incoming');
      if (wasSealed) await this.#folder.sync('objects');
    } catch (error) {
      throw fileFailure(error, this.#name, 'remove');
    }
  }

  async usage(): Promise<StoreUsage> {
    try {
      return await this.#folder.space();
    } catch (error) {
      throw fileFailure(error, this.#name, 'ask for its free space');
    }
  }

  async close(): Promise<void> {
    await this.#folder.close();
  }

  async #claim(key: string, begin: () => Promise<FileWriter>): Promise<FileWriter> {
    const claim = begin();
    this.#writers.set(key, claim);
    try {
      return await claim;
    } catch (error) {
      this.#writers.delete(key);
      throw error;
    }
  }

  async #create({ key, size, preallocate }: CreateRequest): Promise<FileWriter> {
    const { fd, facts } = await this.#openFile('incoming', key, CREATE);
    try {
      // Looked at after our name exists: whoever sealed this key before has moved his away by then.
      await this.#checkUnsealed(key);
      if (size !== undefined && size > 0) await this.#shape(fd, size, preallocate === true);
      await this.#folder.sync('incoming');
    } catch (error) {
      await closeFile(fd);
      await this.#folder.unlink('incoming', key);
      throw fileFailure(error, this.#name, `make room for ${size ?? 'an unknown number of'} bytes`);
    }
    return this.#writer(key, fd, { ...facts, size: size ?? 0 });
  }

  async #reopen(key: string): Promise<FileWriter> {
    await this.#checkUnsealed(key);
    const { fd, facts } = await this.#openFile('incoming', key, READ_WRITE);
    return this.#writer(key, fd, facts);
  }

  async #checkUnsealed(key: string): Promise<void> {
    if ((await this.#folder.look('objects', key)) !== undefined) throw this.#taken('is sealed');
  }

  async #shape(fd: number, size: number, preallocate: boolean): Promise<void> {
    // Also says at once when the filesystem takes no file of this size.
    await truncateFile(fd, size);
    if (!preallocate) return;
    // ext4 would take all that is left from everybody before it says no.
    if (size > (await this.#folder.space()).free) throw this.#noRoom(size);
    for (let offset = 0; offset < size; offset += ALLOCATE) {
      const length = Math.min(ALLOCATE, size - offset);
      if ((await allocate(fd, offset, length)) === 'refused') {
        await new ZeroLadder([]).zero(fd, { offset, length: size - offset });
        return;
      }
    }
  }

  #writer(key: string, fd: number, facts: FileFacts): FileWriter {
    const place = {
      store: this.#name,
      folder: this.#folder,
      ladder: this.#ladder,
      released: () => void this.#writers.delete(key),
    };
    return new FileWriter(place, { key, fd, inode: facts.inode, size: facts.size });
  }

  async #openFile(
    place: 'incoming' | 'objects',
    key: string,
    flags: number,
  ): Promise<{ fd: number; facts: FileFacts }> {
    let fd: number;
    try {
      fd = await openFile(this.#folder.pathOf(place, key), flags, 0o600);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') await this.#folder.look(place, key);
      throw fileFailure(error, this.#name, place === 'objects' ? 'open a key' : 'begin a key');
    }
    const stat = await statExactly(fd);
    if (stat.isFile()) return { fd, facts: factsOf(stat) };
    await closeFile(fd);
    throw this.#folder.strange(key);
  }

  #noRoom(size: number): HawserError {
    return new HawserError(
      'store-full',
      `The Store "${this.#name}" has no room for ${size} bytes. Free space on its filesystem, or use another Store.`,
      { details: { store: this.#name, size } },
    );
  }

  #taken(how: string): HawserError {
    return new HawserError(
      'already-exists',
      `The key ${how} in the Store "${this.#name}". Choose another, or remove it.`,
    );
  }
}
