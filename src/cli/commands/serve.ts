import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { type Command, Option } from 'commander';
import type { Logger } from 'pino';
import { type LoadedConfig, loadConfig } from '../../config/load.ts';
import { allSettings } from '../../config/settings.ts';
import { exitCodes } from '../exit-codes.ts';
import { type GlobalOptions, Interrupted, note, print, printJson, stopSignal } from '../terminal.ts';

/** Flags of settings come by commander's names: `--uploads-chunk-size` is `uploadsChunkSize`. */
export type SettingOptions = GlobalOptions & Readonly<Record<string, unknown>>;

/** `hawser serve`: runs until it is told to stop. */
export async function serve(options: SettingOptions): Promise<number> {
  return runRole(options, async (config, { log, signal, sources }) => {
    const { serve: start } = await import('../../roles/serve.ts');
    const agentListener = sources.agentListen?.kind === 'default' ? 'try' : 'must';
    const serving = await start(config, { log, signal, agentListener });
    return {
      stop: serving.stop,
      greet: () => {
        if (options.json === true) printJson({ event: 'ready', addresses: serving.addresses });
        else if (options.quiet !== true) greet(serving);
      },
    };
  });
}

interface RoleTools {
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly sources: LoadedConfig['sources'];
}

interface RunningRole {
  stop(): Promise<void>;
  /** Says that it is ready. */
  greet(): void;
}

/** Runs a role with the settings of this command line until it is told to stop. */
export async function runRole(
  options: SettingOptions,
  start: (config: LoadedConfig['config'], tools: RoleTools) => Promise<RunningRole>,
): Promise<number> {
  const { config, sources } = await loadOwnConfig(options);
  const { pino } = await import('pino');
  // On a terminal the lines are for a person: without being asked, only what is wrong is told there.
  const quiet = process.stderr.isTTY && sources['log.level']?.kind === 'default';
  const log = pino({ level: quiet ? 'warn' : config.log.level }, pino.destination({ fd: 2, sync: false }));
  const { signal, release } = stopSignal();
  try {
    const running = await start(config, { log, signal, sources });
    running.greet();
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    note('Stopping; what was received stays.', options);
    await running.stop();
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error; // told to stop while it started
    return exitCodes.ok;
  } finally {
    release();
    log.flush();
  }
}

interface Greeted {
  readonly addresses: Readonly<Record<string, string>>;
  readonly adminTokenPath: string;
  readonly page: boolean;
}

function greet({ addresses, adminTokenPath, page }: Greeted): void {
  print(`Hawser is ready:  ${addresses.api ?? ''}`);
  print(`Sign in with the admin token in ${adminTokenPath}`);
  if (!page) print('The page is not built; npm run build:web builds it. API and commands work without.');
  // npm start runs in a checkout, where the command is not on anybody's PATH.
  const command = process.env.npm_lifecycle_event === undefined ? 'hawser' : 'bin/hawser';
  print(`Upload from here: ${command} upload FILE NAME`);
  const tickets = addresses.imageioHttps ?? addresses.imageioHttp ?? addresses.imageioUnix;
  if (tickets !== undefined) print(`oVirt tickets at ${tickets}: ${command} ticket add FILE`);
}

/** The configuration that counts for this command line. */
export function loadOwnConfig(options: SettingOptions): Promise<LoadedConfig> {
  const flags: Record<string, string> = {};
  for (const setting of allSettings()) {
    const value = options[attributeOf(setting.flag)];
    if (typeof value === 'string') flags[setting.path] = value;
  }
  return loadConfig({
    flags,
    env: process.env,
    readFile: (path) =>
      readFile(path, 'utf8').catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
          return undefined;
        throw error;
      }),
    uid: process.getuid?.(),
    home: homedir(),
  });
}

/** One flag for each setting; `--data-dir` every command has. */
export function addSettingOptions(command: Command): void {
  for (const setting of allSettings()) {
    if (setting.path === 'dataDir') continue;
    const usual =
      setting.usual === undefined || setting.usual === '' ? '' : ` (usually ${JSON.stringify(setting.usual)})`;
    command.option(`${setting.flag} <value>`, `${setting.description}${usual} [${setting.variable}]`);
  }
}

function attributeOf(flag: string): string {
  return new Option(`${flag} <value>`).attributeName();
}
