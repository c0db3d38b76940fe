import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { HawserError } from '../core/errors.ts';
import {
  dieWithParent,
  locatePostgres,
  type PostgresProgram,
  processesOf,
  type RunAs,
  runAs,
} from './postgres-program.ts';

/** What `pg` needs to connect: the folder of the unix socket as host. */
export interface PostgresConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

export interface RunningPostgres {
  readonly connection: PostgresConnection;
  /** The same as a URL, for programs that take one. */
  readonly url: string;
  /** The postmaster's process id; another one after it was restarted. */
  readonly pid: number;
  /** Fast shutdown; resolves when no process of it is left. Repeatable. */
  stop(): Promise<void>;
}

export interface PostgresOptions {
  readonly dataDir: string;
  readonly signal?: AbortSignal | undefined;
  readonly log?: ((fields: Readonly<Record<string, unknown>>) => void) | undefined;
}

/** Linux takes 107 bytes of path for a unix socket. */
const SOCKET_PATH_LIMIT = 107;
const PORT = 5432;
const USER = 'hawser';
const START_LIMIT = 60_000;

/**
 * Starts the embedded PostgreSQL in `dataDir/pg` and keeps it running: when it dies it is started
 * again; when this process dies, however, it goes too (and a left-over is ended at the next start).
 * It listens on a unix socket in a folder only we may enter, never on TCP. fsync stays on.
 *
 * Who starts it must hold the lock of the data folder: a PostgreSQL found running on it is taken for a left-over.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const dataDir = resolve(options.dataDir);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const pgDir = join(dataDir, 'pg');
  const program = await locatePostgres(join(dataDir, 'run', 'pg-lib'));
  const as = await runAs((await exists(pgDir)) ? pgDir : dataDir);
  await endLeftOvers(pgDir);
  const socketDir = await socketFolder(dataDir, as);
  if (!(await exists(pgDir))) await initialise(program, pgDir, as);
  const log = options.log ?? (() => {});
  const supervisor = new Supervisor({ program, pgDir, socketDir, as, deathSignal: await dieWithParent(), log });
  await supervisor.start(options.signal);
  const connection = { host: socketDir, port: PORT, user: USER, database: 'postgres' };
  return {
    connection,
    url: `postgresql://${USER}@/postgres?host=${encodeURIComponent(socketDir)}&port=${PORT}`,
    get pid() {
      return supervisor.pid;
    },
    stop: () => supervisor.stop(),
  };
}

interface Supervised {
  readonly program: PostgresProgram;
  readonly pgDir: string;
  readonly socketDir: string;
  readonly as: RunAs;
  readonly deathSignal: readonly string[];
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
}

class Supervisor {
  readonly #what: Supervised;
  readonly #ending = new AbortController();
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #keeper: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;
  #lines: string[] = [];

  constructor(what: Supervised) {
    this.#what = what;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when connections are accepted. Throws `unavailable` with PostgreSQL's last words. */
  async start(signal?: AbortSignal): Promise<void> {
    try {
      await this.#launch(signal);
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#keeper = this.#exited.then(() => this.#keepAlive());
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    this.#ending.abort();
    for (const [signal, patience] of [
      ['SIGINT', 20_000],
      ['SIGQUIT', 5_000],
      ['SIGKILL', 5_000],
    ] as const) {
      if (this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) break;
      this.#child.kill(signal);
      await Promise.race([this.#exited, wait(patience, undefined, { ref: false })]);
    }
    await this.#keeper;
    await endLeftOvers(this.#what.pgDir);
  }

  async #launch(signal?: AbortSignal): Promise<void> {
    const { program, pgDir, socketDir, as, deathSignal } = this.#what;
    await rm(join(socketDir, `.s.PGSQL.${PORT}`), { force: true });
    await rm(join(socketDir, `.s.PGSQL.${PORT}.lock`), { force: true });
    // No process of it is left, so a postmaster.pid is stale; its number may be another program's by now.
    await rm(join(pgDir, 'postmaster.pid'), { force: true });
    if (this.#ending.signal.aborted) return;
    const args = [...deathSignal, ...as.prefix, program.postgres, '-D', pgDir, ...settings(socketDir)];
    const child = run(args, { as, program, cwd: pgDir });
    this.#child = child;
    this.#lines = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: Buffer) => this.#note(text));
    this.#exited = new Promise((done) => {
      child.once('exit', () => done());
      child.once('error', (error) => {
        this.#note(Buffer.from(error.message));
        done();
      });
    });
    await this.#ready(child, signal);
  }

  /** The eighth line of postmaster.pid says `ready`; it is written in any language. */
  async #ready(child: ChildProcess, signal?: AbortSignal): Promise<void> {
    let ended = false;
    void this.#exited.then(() => {
      ended = true;
    });
    for (let waited = 0; waited < START_LIMIT; waited += 10) {
      signal?.throwIfAborted();
      this.#ending.signal.throwIfAborted();
      if (ended) break;
      const lines = (await readFile(join(this.#what.pgDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
      if (lines[0] === String(child.pid) && lines[7]?.trim() === 'ready') return;
      await wait(10);
    }
    throw new HawserError(
      'unavailable',
      `The embedded PostgreSQL did not start. Its last words: ${this.#lines.slice(-8).join(' | ') || '(none)'}`,
    );
  }

  /** Starts it again whenever it ended without being asked to. */
  async #keepAlive(): Promise<void> {
    const { log, pgDir } = this.#what;
    const { signal } = this.#ending;
    let failures = 0;
    while (!signal.aborted) {
      log({ event: 'postgres.exited', signal: this.#child?.signalCode, lines: this.#lines.slice(-5) });
      try {
        await endLeftOvers(pgDir);
        await this.#launch();
        failures = 0;
        log({ event: 'postgres.restarted', pid: this.pid });
        await this.#exited;
      } catch (error) {
        if (signal.aborted) break;
        failures++;
        log({ event: 'postgres.restart-failed', failures, error: String(error) });
        await wait(Math.min(5_000, 100 * 2 ** failures), undefined, { ref: false, signal }).catch(() => {});
      }
    }
    this.#child?.kill('SIGINT');
  }

  #note(text: Buffer): void {
    this.#lines.push(...text.toString('utf8').split('\n').filter(Boolean));
    this.#lines = this.#lines.slice(-50);
  }
}

function run(
  [command = '', ...args]: readonly string[],
  { as, program, cwd }: { readonly as: RunAs; readonly program: PostgresProgram; readonly cwd: string },
): ChildProcess {
  const identity = {
    ...(as.uid === undefined ? {} : { uid: as.uid }),
    ...(as.gid === undefined ? {} : { gid: as.gid }),
  };
  return spawn(command, args, { ...identity, env: program.env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
}

function settings(socketDir: string): readonly string[] {
  const values = {
    listen_addresses: '',
    port: PORT,
    unix_socket_directories: socketDir,
    unix_socket_permissions: '0700',
    max_connections: 40,
    shared_buffers: '24MB',
    work_mem: '4MB',
    maintenance_work_mem: '16MB',
    max_worker_processes: 2,
    max_parallel_workers: 0,
    max_wal_senders: 0,
    wal_level: 'minimal',
    min_wal_size: '32MB',
    max_wal_size: '256MB',
    fsync: 'on',
    full_page_writes: 'on',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_min_messages: 'warning',
  } as const;
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Made beside its place and renamed: a killed initdb leaves nothing that looks like a database. */
async function initialise(program: PostgresProgram, pgDir: string, as: RunAs): Promise<void> {
  const fresh = `${pgDir}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { mode: 0o700 });
  await giveTo(fresh, as);
  const args = [
    '-D',
    fresh,
    '-U',
    USER,
    '--auth=trust',
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--locale=C.UTF-8',
  ];
  const said: string[] = [];
  const code = await new Promise<number | string>((done) => {
    const child = run([...as.prefix, program.initdb, ...args], { as, program, cwd: fresh });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: Buffer) => said.push(text.toString()));
    child.on('error', (error) => done(error.message));
    child.on('exit', (status, signal) => done(status ?? String(signal)));
  });
  if (code !== 0) {
    await rm(fresh, { recursive: true, force: true });
    const last = said.join('').trim().split('\n').slice(-5).join(' | ');
    throw new HawserError('unavailable', `The embedded PostgreSQL could not be made (initdb: ${code}): ${last}`);
  }
  await rename(fresh, pgDir);
}

/** Ends what still runs on this data folder: fast, then at once, then by force. */
async function endLeftOvers(pgDir: string): Promise<void> {
  for (const [signal, patience] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 10_000],
  ] as const) {
    for (let waited = 0; waited < patience; waited += 20) {
      const pids = await processesOf(pgDir);
      if (pids.length === 0) return;
      if (waited === 0) for (const pid of pids) killIfThere(pid, signal);
      await wait(20);
    }
  }
  throw new HawserError(
    'unavailable',
    'A left-over PostgreSQL of an earlier run does not end; restart the machine or end it by hand.',
  );
}

function killIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** `dataDir/run/pg`, or a short private folder, remembered there, when the path is too long for a socket. */
async function socketFolder(dataDir: string, as: RunAs): Promise<string> {
  const near = join(dataDir, 'run', 'pg');
  await mkdir(near, { recursive: true, mode: 0o700 });
  await chmod(near, 0o700);
  await giveTo(join(dataDir, 'run'), as);
  await giveTo(near, as);
  if (fits(near)) return near;
  const note = join(dataDir, 'run', 'pg-socket-folder');
  const remembered = (await readFile(note, 'utf8').catch(() => '')).trim();
  if (remembered !== '' && (await isPrivate(remembered, as))) return remembered;
  const base = fits(join(tmpdir(), 'hawser-XXXXXX')) ? tmpdir() : '/tmp';
  const made = await mkdtemp(join(base, 'hawser-'));
  await chmod(made, 0o700);
  await giveTo(made, as);
  await writeFile(note, made, { mode: 0o600 });
  return made;
}

function fits(folder: string): boolean {
  return Buffer.byteLength(join(folder, `.s.PGSQL.${PORT}`)) <= SOCKET_PATH_LIMIT;
}

async function isPrivate(folder: string, as: RunAs): Promise<boolean> {
  const found = await stat(folder).catch(() => undefined);
  const owner = as.uid ?? process.getuid?.();
  return found?.isDirectory() === true && found.uid === owner && (found.mode & 0o077) === 0;
}

async function giveTo(folder: string, as: RunAs): Promise<void> {
  if (as.uid !== undefined && as.gid !== undefined) await chown(folder, as.uid, as.gid);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}
