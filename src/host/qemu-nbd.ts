import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { HawserError } from '../core/errors.ts';
import { filesOf, type ImageLayer } from '../core/image-chain.ts';
import { endRecorded, forgetChild, recordChild } from './child-record.ts';
import { blockOptions, type ChildFiles, type ImageFile, qemuDriver, vmdkDescriptor } from './qemu-block-options.ts';
import { socketPath } from './socket-path.ts';

export interface QemuNbdRequest {
  /** As the format check left it; its files stay open until the server is stopped. */
  readonly image: ImageLayer<ImageFile>;
  readonly writable: boolean;
  /** Connections at once. */
  readonly shared?: number;
  /** A persistent dirty bitmap of the top layer to export. */
  readonly bitmap?: string;
}

export interface QemuNbd extends AsyncDisposable {
  readonly socketPath: string;
  readonly pid: number;
  /** Resolves with its last words when it ended without being asked to. */
  readonly died: Promise<HawserError>;
}

const START_LIMIT = 60_000;
const PATIENCE = 5_000;
const MOST_WORDS = 4096;

/**
 * Starts and ends qemu-nbd processes. They serve on unix sockets in folders that only we may enter, die with this
 * process however it dies, and those that a crash left behind all the same are ended by `open`.
 */
export class QemuNbdSupervisor implements AsyncDisposable {
  readonly #folder: string;
  readonly #running = new Set<QemuNbd>();
  readonly #randomId: () => string;

  private constructor(folder: string, randomId: () => string) {
    this.#folder = folder;
    this.#randomId = randomId;
  }

  /** `folder` must be ours alone, that of one Hawser process at a time. */
  static async open(folder: string, randomId: () => string): Promise<QemuNbdSupervisor> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await endRecorded(folder);
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true });
    return new QemuNbdSupervisor(folder, randomId);
  }

  /**
   * Resolves when it takes connections. Throws `in-use` when another program has the image open, `unsupported`
   * without qemu-nbd or for a format that it cannot serve, `store-failed` with its last words otherwise.
   */
  async start(request: QemuNbdRequest, signal?: AbortSignal): Promise<QemuNbd> {
    const name = this.#randomId();
    const folder = join(this.#folder, name);
    await mkdir(folder, { mode: 0o700 });
    const ended = () => void this.#running.delete(server);
    const server = new Server(request, { folder, records: this.#folder, name, ended });
    this.#running.add(server);
    try {
      await server.start(signal);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running].map((server) => server[Symbol.asyncDispose]()));
  }
}

interface Place {
  readonly folder: string;
  readonly records: string;
  readonly name: string;
  /** Nothing of it is left. */
  readonly ended: () => void;
}

class Server implements QemuNbd {
  readonly #request: QemuNbdRequest;
  readonly #place: Place;
  readonly #died = Promise.withResolvers<HawserError>();
  #socketPath = '';
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #gone = false;
  #words = '';
  #stopped: Promise<void> | undefined;

  constructor(request: QemuNbdRequest, place: Place) {
    this.#request = request;
    this.#place = place;
  }

  get socketPath(): string {
    return this.#socketPath;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get died(): Promise<HawserError> {
    return this.#died.promise;
  }

  async start(signal?: AbortSignal): Promise<void> {
    const { folder, records, name } = this.#place;
    this.#socketPath = await socketPath(folder, 's');
    const ready = join(folder, 'pid');
    this.#launch(await this.#arguments(ready));
    if (this.#child?.pid !== undefined) await recordChild(records, name, this.#child.pid);
    await this.#listening(ready, signal);
    await this.#checkOpened();
    void this.#exited.then(() => this.#stopped ?? this.#died.resolve(this.#failure('ended')));
  }

  /** When it resolves no process of it is left. What was not flushed may be lost, as with any writer that goes. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const { folder, records, name, ended } = this.#place;
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (this.#gone) break;
      this.#child?.kill(signal);
      await Promise.race([this.#exited, wait(PATIENCE, undefined, { ref: false })]);
    }
    await this.#exited;
    await forgetChild(records, name);
    await rm(folder, { recursive: true, force: true });
    // Where the path was too long for a socket it has a folder of its own elsewhere.
    if (this.#socketPath !== '') await rm(dirname(this.#socketPath), { recursive: true, force: true });
    ended();
  }

  async #arguments(pidFile: string): Promise<readonly string[]> {
    const { image, writable, shared = 16, bitmap } = this.#request;
    const files = await this.#childFiles();
    const mode = writable ? ['--discard=unmap', '--detect-zeroes=unmap'] : ['--read-only'];
    return [
      `--socket=${this.#socketPath}`,
      `--format=${qemuDriver(image.format)}`,
      `--shared=${shared}`,
      '--persistent',
      `--pid-file=${pidFile}`,
      ...mode,
      // What of a chain is allocated at all; a raw file tells it better by its holes.
      ...(image.format === 'raw' || image.format === 'iso' ? [] : ['--allocation-depth']),
      ...(bitmap === undefined ? [] : [`--bitmap=${bitmap}`]),
      `json:${JSON.stringify(blockOptions(image, files))}`,
    ];
  }

  async #childFiles(): Promise<ChildFiles> {
    const { image, writable } = this.#request;
    const all = filesOf(image);
    const pathOf = (file: ImageFile) => `/proc/self/fd/${FIRST_FD + all.indexOf(file)}`;
    if (image.extents === null) return { pathOf, descriptor: undefined };
    if (writable) throw new HawserError('unsupported', 'A VMDK of several files is only read, never written.');
    const descriptor = join(this.#place.folder, 'descriptor.vmdk');
    const files = { pathOf, descriptor };
    await writeFile(descriptor, vmdkDescriptor(image.extents, files), { mode: 0o600 });
    return files;
  }

  #launch(args: readonly string[]): void {
    const inherited = filesOf(this.#request.image).map(({ fd }) => fd);
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-nbd', ...args], {
      stdio: ['ignore', 'pipe', 'pipe', ...inherited],
      // A group of its own: Ctrl-C on our terminal is ours to hear, not its.
      detached: true,
      cwd: this.#place.folder,
      env: { PATH: searchPath(), LC_ALL: 'C', TMPDIR: this.#place.folder },
    });
    this.#child = child;
    const note = (text: Buffer) => {
      this.#words = `${this.#words}${text}`.slice(-MOST_WORDS);
    };
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', note);
    this.#exited = new Promise((resolve) => {
      child.once('close', () => resolve());
      child.once('error', (error) => {
        note(Buffer.from(error.message));
        resolve();
      });
    });
    void this.#exited.then(() => {
      this.#gone = true;
    });
  }

  /** It writes its pid file once it listens. */
  async #listening(pidFile: string, signal?: AbortSignal): Promise<void> {
    for (let waited = 0; waited < START_LIMIT; waited += 5) {
      signal?.throwIfAborted();
      const written = (await readFile(pidFile, 'utf8').catch(() => '')).endsWith('\n');
      if (written) return;
      if (this.#gone) throw this.#failure('did not start');
      await Promise.race([this.#exited, wait(5)]);
    }
    throw this.#failure(`did not listen within ${START_LIMIT / 1000} s`);
  }

  /** What it has open must be what was checked: should a header have changed in between, this is where it shows. */
  async #checkOpened(): Promise<void> {
    const ours = filesOf(this.#request.image).map(({ fd }) => `/proc/self/fd/${fd}`);
    const allowed = new Set(await Promise.all([...ours, ...(await this.#ownFiles())].map(identityOf)));
    const folder = `/proc/${this.pid}/fd`;
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined || !(found.isFile() || found.isBlockDevice() || found.isDirectory())) continue;
      if ((await readlink(path)) === '/dev/null' || allowed.has(await identityOf(path))) continue;
      throw new HawserError(
        'format-unsafe',
        'The image names a file that was not there when it was checked: somebody changed it meanwhile. It is not opened.',
      );
    }
  }

  async #ownFiles(): Promise<readonly string[]> {
    const { folder } = this.#place;
    return (await readdir(folder)).map((name) => join(folder, name));
  }

  #failure(what: string): HawserError {
    const said = this.#words
      .replaceAll(/json:\{.*\}/g, 'the image')
      .replaceAll(/'?\/[^\s':,"\]]+'?/g, 'the image')
      .replaceAll(/^(setpriv|qemu-nbd): /gm, '')
      .replaceAll(/\s*\n\s*/g, ' ')
      .trim();
    const about = `QEMU's NBD server ${what}. ${said === '' ? 'It said nothing.' : `It said: ${said}`}`;
    if (/Failed to get .* lock|is already in use/i.test(said)) {
      return new HawserError('in-use', `${about} Another program has the image open: wait for it or end it.`);
    }
    if (/failed to execute|ENOENT/.test(said)) {
      return new HawserError('unsupported', `${about} Install qemu-utils and util-linux on this host.`);
    }
    return new HawserError('store-failed', about);
  }
}

/** 0, 1 and 2 are the standard ones. */
const FIRST_FD = 3;

async function identityOf(path: string): Promise<string> {
  const { dev, ino, rdev } = await stat(path, { bigint: true });
  return `${dev}:${ino}:${rdev}`;
}

function searchPath(): string {
  return `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}
