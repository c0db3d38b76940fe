import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Target } from './crash-proxy.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const program = join(root, 'src/cli/main.ts');

/** The real `hawser serve` on one data folder, in a process group of its own, PostgreSQL and all. */
export class ServerGroup implements AsyncDisposable {
  readonly dataDir: string;
  readonly isAll = true;
  readonly #nodeArgs: readonly string[];
  #child: ChildProcess | undefined;
  #said = '';

  /** `nodeArgs`: for a build that is not the real one (`--import` of a hook). */
  constructor(dataDir: string, nodeArgs: readonly string[] = []) {
    this.dataDir = dataDir;
    this.#nodeArgs = nodeArgs;
  }

  /** The last lines of its log, for reports. */
  get said(): string {
    return this.#said;
  }

  /** Starts it and resolves when it answers. Throws when anything of the one before is still there then. */
  async start(): Promise<Target> {
    const file = join(this.dataDir, 'run', 'addresses.json');
    await rm(file, { force: true });
    const child = spawn(process.execPath, [...this.#nodeArgs, program, 'serve'], {
      cwd: root,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        HAWSER_DATA_DIR: this.dataDir,
        HAWSER_LISTEN: '127.0.0.1:0',
        HAWSER_DATA_LISTEN: '127.0.0.1:0',
      },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => this.#note(String(chunk)));
    for (;;) {
      const target = await readAddresses(file);
      if (target !== undefined) {
        await this.#nothingOlder(child);
        return target;
      }
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`serve ended with ${child.exitCode ?? child.signalCode}:\n${this.#said}`);
      }
      await wait(10);
    }
  }

  async token(): Promise<string> {
    return (await readFile(join(this.dataDir, 'run', 'admin-token'), 'utf8')).trim();
  }

  /** kill -9 of the whole group, now. */
  kill(): void {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('there is no server to kill');
    killGroup(pid);
  }

  /** Resolves when the killed process is gone. */
  async gone(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** A tidy stop; the group is killed when there is none. Resolves when no process of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await this.gone();
    killGroup(child.pid);
    while ((await processesOf(this.dataDir)).length > 0) await wait(20);
  }

  #note(text: string): void {
    this.#said = `${this.#said}${text}`.slice(-6000);
  }

  /** Whatever works in the data folder or was started for it is younger than the server that is ready now. */
  async #nothingOlder(child: ChildProcess): Promise<void> {
    const processes = await processesOf(this.dataDir);
    const born = processes.find(({ pid }) => pid === child.pid)?.started ?? 0;
    const older = processes.filter(({ started }) => started < born);
    if (older.length === 0) return;
    const list = older.map(({ pid, command }) => `${pid} ${command}`).join('\n');
    throw new Error(`Processes of the killed server are still there although the next one is ready:\n${list}`);
  }
}

/** Also when it is gone already. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

interface Found {
  readonly pid: number;
  readonly command: string;
  /** Clock ticks since the machine was started. */
  readonly started: number;
}

/** Processes that have the folder as HAWSER_DATA_DIR or work in it (PostgreSQL leaves the group and drops the environment). */
export async function processesOf(dataDir: string): Promise<readonly Found[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [environment, cwd, stat, command] = await Promise.all([
        textOf(`/proc/${pid}/environ`),
        readlink(`/proc/${pid}/cwd`).catch(() => ''),
        textOf(`/proc/${pid}/stat`),
        textOf(`/proc/${pid}/cmdline`),
      ]);
      const ours = environment.includes(`HAWSER_DATA_DIR=${dataDir}\0`) || cwd.startsWith(`${dataDir}/`);
      if (!ours || command === '') return [];
      const started = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
      return [{ pid: Number(pid), command: command.replaceAll('\0', ' ').slice(0, 160), started }];
    }),
  );
  return found.flat();
}

async function readAddresses(file: string): Promise<Target | undefined> {
  const text = await textOf(file);
  if (text === '') return undefined;
  const { api, data } = JSON.parse(text) as Record<string, string | undefined>;
  if (api === undefined || data === undefined) throw new Error(`${file} names no listeners: ${text}`);
  return { api, data };
}

function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}
