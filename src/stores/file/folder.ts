import { lstat, mkdir, realpath, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HawserError } from '../../core/errors.ts';
import { type FreeSpace, freeSpace } from '../../native/free-space.ts';
import { renameNoReplace } from '../../native/rename.ts';
import { closeFile, FOLDER, openFile, PARENT, statFile, syncFile } from './descriptor.ts';
import { errnoOf, fileFailure } from './failure.ts';

export type Place = 'incoming' | 'objects';

/** A file as it lies on its filesystem. */
export interface FileFacts {
  readonly inode: bigint;
  readonly size: number;
  readonly storedSize: number;
  readonly fingerprint: string;
}

/** The Store's folder: `incoming/KEY` while being written, `objects/KEY` once sealed. See docs/stores/file.md. */
export class Folder {
  readonly #store: string;
  readonly #path: string;
  /** Open as long as the Store: to sync them, and so that the filesystem cannot be unmounted under us. */
  readonly #open: Readonly<Record<Place, number>>;

  private constructor(store: string, path: string, open: Readonly<Record<Place, number>>) {
    this.#store = store;
    this.#path = path;
    this.#open = open;
  }

  /** Makes what is missing of it (0700). */
  static async open(store: string, path: string): Promise<Folder> {
    await makeFolder(path);
    const real = await realpath(path);
    await using opened = new AsyncDisposableStack();
    const openPlace = async (place: Place) => {
      await makeFolder(join(real, place));
      const fd = await openFile(join(real, place), FOLDER);
      opened.defer(() => closeFile(fd));
      return fd;
    };
    const folder = new Folder(store, real, {
      incoming: await openPlace('incoming'),
      objects: await openPlace('objects'),
    });
    // A rename that a killed process could not sync any more counts from now on.
    await folder.sync('objects');
    await folder.sync('incoming');
    opened.move();
    return folder;
  }

  pathOf(place: Place, key: string): string {
    return join(this.#path, place, key);
  }

  /** undefined: nothing is there. Throws `store-failed` when the folder itself is gone or it is no file. */
  async look(place: Place, key: string): Promise<FileFacts | undefined> {
    try {
      const facts = await lstat(this.pathOf(place, key), { bigint: true });
      if (facts.isFile()) return factsOf(facts);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileFailure(error, this.#store, 'look up a key');
      await this.#checkItself(place);
      return undefined;
    }
    throw this.strange(key);
  }

  /** What lies under the key is a link, a folder, a device. */
  strange(key: string): HawserError {
    return new HawserError(
      'store-failed',
      `In the Store "${this.#store}" the key ${key} is not a regular file. Hawser did not put it there: remove it.`,
      { details: { store: this.#store } },
    );
  }

  /** Moves a written file to the sealed ones; never replaces. Throws an error of the system. */
  async publish(key: string): Promise<void> {
    await renameNoReplace(this.pathOf('incoming', key), this.pathOf('objects', key));
  }

  /** Whether there was something. */
  async unlink(place: Place, key: string): Promise<boolean> {
    try {
      await unlink(this.pathOf(place, key));
      return true;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.#checkItself(place);
      return false;
    }
  }

  /** Names that were made, moved or removed in it survive a power cut from now on. */
  async sync(place: Place): Promise<void> {
    await syncFile(this.#open[place]);
  }

  async space(): Promise<FreeSpace & { readonly filesystem: string }> {
    const { dev } = await statFile(this.#open.objects);
    return { ...(await freeSpace(this.#path)), filesystem: String(dev) };
  }

  async close(): Promise<void> {
    await closeFile(this.#open.incoming);
    await closeFile(this.#open.objects);
  }

  /** "Nothing there" only counts in the folder that we opened: a filesystem that went away must not look empty. */
  async #checkItself(place: Place): Promise<void> {
    const opened = await statFile(this.#open[place]);
    const now = await lstat(join(this.#path, place)).catch(() => undefined);
    if (now !== undefined && now.ino === opened.ino && now.dev === opened.dev && opened.nlink > 0) return;
    throw new HawserError(
      'store-failed',
      `The folder of the Store "${this.#store}" was removed, replaced or unmounted while in use. Bring it back and start Hawser again.`,
      { details: { store: this.#store } },
    );
  }
}

/** What of a file says that its bytes were touched: not ctime, which a backup, a chmod or a link moves too. */
export function factsOf(stat: {
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly mtimeNs: bigint;
}): FileFacts {
  return {
    inode: stat.ino,
    size: Number(stat.size),
    storedSize: Number(stat.blocks) * 512,
    fingerprint: `${stat.ino}:${stat.size}:${stat.mtimeNs}`,
  };
}

/** Not `mkdir` with `recursive`: on a filesystem that takes no folders (/proc) it never comes back. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, 0o700);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path || (await isThere(dirname(path)))) throw error;
    await makeFolder(dirname(path));
    return makeFolder(path);
  }
  await syncFolder(dirname(path));
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

async function syncFolder(path: string): Promise<void> {
  const fd = await openFile(path, PARENT);
  try {
    await syncFile(fd);
  } finally {
    await closeFile(fd);
  }
}
