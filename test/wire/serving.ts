import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeDataFolder } from '../data-folder.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A real `hawser serve` in a folder of its own, on ports of its own. */
export interface Serving extends AsyncDisposable {
  /** The main listener, `http://127.0.0.1:…`. */
  readonly api: string;
  /** The data listener. */
  readonly data: string;
  readonly token: string;
  readonly dataDir: string;
  /** Goes with the server; tests put their files here. */
  readonly folder: string;
  readonly pid: number;
  /** The last lines of its log. */
  log(): string;
}

export interface ServingOptions {
  /** Text of the configuration file. */
  readonly yaml?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** An empty folder; outside of vitest there is none that is prepared. */
  readonly dataDir?: string;
}

export async function startServing({ yaml, env = {}, ...options }: ServingOptions = {}): Promise<Serving> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hawser-wire-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const dataDir = options.dataDir ?? (await makeDataFolder(join(folder, 'data')));
  if (yaml !== undefined) await writeFile(join(folder, 'hawser.yaml'), yaml);
  const child = spawn(join(root, 'bin/hawser'), ['serve'], {
    cwd: folder,
    env: {
      ...withoutSettings(process.env),
      HAWSER_DATA_DIR: dataDir,
      HAWSER_LISTEN: '127.0.0.1:0',
      HAWSER_DATA_LISTEN: '127.0.0.1:0',
      ...(yaml === undefined ? {} : { HAWSER_CONFIG: join(folder, 'hawser.yaml') }),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString()}`.slice(-20_000);
    });
  }
  undo.defer(() => stop(child));
  const addresses = await addressesOf(child, dataDir, () => said);
  const token = (await readFile(join(dataDir, 'run', 'admin-token'), 'utf8')).trim();
  const cleanup = undo.move();
  return {
    api: addresses.api ?? '',
    data: addresses.data ?? '',
    token,
    dataDir,
    folder,
    pid: child.pid ?? 0,
    log: () => said,
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
}

async function addressesOf(
  child: ChildProcess,
  dataDir: string,
  said: () => string,
): Promise<Readonly<Record<string, string>>> {
  const file = join(dataDir, 'run', 'addresses.json');
  while (!existsSync(file)) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`serve ended with ${child.exitCode ?? child.signalCode}: ${said()}`);
    }
    await delay(30);
  }
  return JSON.parse(await readFile(file, 'utf8'));
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await gone;
  clearTimeout(hard);
}

function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('HAWSER_')));
}
