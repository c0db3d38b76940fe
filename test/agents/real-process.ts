import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** One `hawser control`, `hawser agent` or `hawser serve`, with a data folder and ports that stay its own when it is started again. */
export interface RealProcess extends AsyncDisposable {
  readonly dataDir: string;
  readonly pid: number;
  /** As in its `run/addresses.json`. */
  readonly addresses: Readonly<Record<string, string>>;
  /** All that it has said, since the first start. */
  log(): string;
  /** Resolves when it has said this (again), counted from `after` characters of its log. */
  said(text: string | RegExp, after?: number): Promise<void>;
  /** SIGKILL; resolves when it is gone. */
  kill9(): Promise<void>;
  /** SIGTERM; resolves with its exit code. */
  stop(): Promise<number | null>;
  /** Starts it again on the same data folder and ports; stopped first if it runs. */
  restart(env?: Readonly<Record<string, string>>): Promise<void>;
  /** The exit code of the process that runs now. */
  ended(): Promise<number | null>;
}

export interface ProcessSettings {
  readonly dataDir: string;
  /** What is started: a command of `hawser`, or a script with arguments. */
  readonly command: readonly string[] | { readonly script: string; readonly args?: readonly string[] };
  readonly env: Readonly<Record<string, string>>;
  /** Which setting keeps the port of which address, so that it is the same after a restart. */
  readonly ports: Readonly<Record<string, string>>;
  /** strace writes the names of all files that it opens to `DATADIR.trace`. */
  readonly traced?: boolean;
  /** Do not wait until it is ready. */
  readonly unready?: boolean;
  /** Where it runs: on this machine's loopback address if not said. */
  readonly place?: ProcessPlace;
}

/** Somewhere with an address of its own. */
export interface ProcessPlace {
  readonly address: string;
  /** Comes before the command, and is replaced by it (`exec`). */
  readonly wrapper: readonly string[];
}

export async function startProcess(settings: ProcessSettings): Promise<RealProcess> {
  const { dataDir, ports, place } = settings;
  let said = '';
  let child: ChildProcess;
  let addresses: Readonly<Record<string, string>> = {};
  const start = async (more: Readonly<Record<string, string>>) => {
    const kept = Object.fromEntries(
      Object.entries(ports).map(([address, variable]) => [
        variable,
        `${place?.address ?? '127.0.0.1'}:${portOf(addresses[address])}`,
      ]),
    );
    await rm(join(dataDir, 'run', 'addresses.json'), { force: true }); // of one that was killed
    child = spawnIt(settings, { ...kept, ...settings.env, ...more });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    }
    if (settings.unready !== true) addresses = await addressesOf(child, dataDir, () => said);
  };
  const ended = async () => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  };
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    const hard = setTimeout(() => child.kill('SIGKILL'), 20_000);
    const code = await ended();
    clearTimeout(hard);
    return code;
  };
  await start({});
  return {
    dataDir,
    get pid() {
      return child.pid ?? 0;
    },
    get addresses() {
      return addresses;
    },
    log: () => said,
    said: async (text, after = 0) => {
      const has = () => (typeof text === 'string' ? said.slice(after).includes(text) : text.test(said.slice(after)));
      while (!has()) await delay(20);
    },
    kill9: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    restart: async (env = {}) => {
      await end('SIGTERM');
      await start(env);
    },
    ended,
    [Symbol.asyncDispose]: async () => void (await end('SIGTERM')),
  };
}

function spawnIt(
  { command, dataDir, traced, place }: ProcessSettings,
  env: Readonly<Record<string, string>>,
): ChildProcess {
  const [program, args] =
    'script' in command
      ? [process.execPath, [command.script, ...(command.args ?? [])]]
      : [join(root, 'bin/hawser'), command];
  const tracer = ['-f', '-qq', '-D', '-e', 'trace=open,openat,openat2,creat', '-o', `${dataDir}.trace`, program];
  const whole = [...(place?.wrapper ?? []), ...(traced === true ? ['strace', ...tracer] : [program]), ...args];
  return spawn(whole[0] ?? program, whole.slice(1), {
    env: { ...withoutSettings(process.env), HAWSER_DATA_DIR: dataDir, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function addressesOf(child: ChildProcess, dataDir: string, said: () => string) {
  const file = join(dataDir, 'run', 'addresses.json');
  while (!existsSync(file)) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`it ended with ${child.exitCode ?? child.signalCode}: ${said().slice(-4000)}`);
    }
    await delay(20);
  }
  return JSON.parse(await readFile(file, 'utf8')) as Record<string, string>;
}

function portOf(url: string | undefined): string {
  return url === undefined ? '0' : new URL(url).port;
}

function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('HAWSER_')));
}
