import { join } from 'node:path';
import { parse } from 'yaml';
import type { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { type ConfigFile, readConfigFile } from './config-file.ts';
import { nearest } from './nearest.ts';
import { numberForms, parseNumber } from './number.ts';
import { type Config, configSchema } from './schema.ts';
import { allSettings, type Setting } from './settings.ts';

/** Where a value came from. */
export type ConfigSource =
  | { readonly kind: 'flag'; readonly flag: string }
  | { readonly kind: 'environment'; readonly variable: string }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'default' };

export interface LoadedConfig {
  /** `dataDir` is resolved: never empty. */
  readonly config: Config;
  /** One for each setting, by its path. */
  readonly sources: Readonly<Record<string, ConfigSource>>;
  /** The file that was read, if there is one. */
  readonly file: string | undefined;
}

export interface ConfigInputs {
  /** By the path of the setting (`uploads.chunkSize`), as typed. */
  readonly flags: Readonly<Record<string, string | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Undefined when there is no such file. */
  readonly readFile: (path: string) => Promise<string | undefined>;
  /** 0 for root; decides where the data folder is. */
  readonly uid: number | undefined;
  readonly home: string;
}

/** Variables that begin with HAWSER_ and are not settings of a server: the CLI's, the right to join, and the mark of a test run. */
const otherVariables = [
  'HAWSER_CONFIG',
  'HAWSER_SERVER',
  'HAWSER_TOKEN',
  'HAWSER_PASSWORD',
  'HAWSER_USER',
  'HAWSER_CA',
  'HAWSER_JOIN',
  'HAWSER_JOIN_FILE',
  'HAWSER_TEST_RUN',
];

/**
 * The configuration: flag, else environment, else file, else default. The file is `$HAWSER_CONFIG`, or
 * `hawser.yaml` in the data folder when it exists. Throws `bad-request` that tells every fault at once
 * with its place, what was wanted, what was found, and the name that was probably meant.
 */
export async function loadConfig(inputs: ConfigInputs): Promise<LoadedConfig> {
  const settings = allSettings();
  const faults: string[] = [];
  const dataDir = inputs.flags.dataDir || inputs.env.HAWSER_DATA_DIR || usualDataDir(inputs);
  const { path, file } = await openFile(inputs, dataDir, settings);
  const found = new Map<string, { readonly value: unknown; readonly source: ConfigSource }>();

  for (const setting of settings) {
    const given = givenFor(setting, inputs, path, file);
    if (given === undefined) continue;
    const value = readValue(setting, given.value, given.source);
    if ('fault' in value) faults.push(`${placeOf(given.source)}: ${value.fault}`);
    else found.set(setting.path, { value: value.value, source: given.source });
  }
  faults.push(...strangers(inputs, settings, path, file));
  const parsed = configSchema.safeParse(nested(found));
  if (!parsed.success) faults.push(...parsed.error.issues.map((issue) => schemaFault(issue, found)));
  if (faults.length > 0 || !parsed.success) throw refusal(faults);

  const config = { ...parsed.data, dataDir: parsed.data.dataDir === '' ? dataDir : parsed.data.dataDir };
  if (inputs.env.HAWSER_CONFIG === undefined && config.dataDir !== dataDir) {
    throw refusal([
      `${path} says dataDir ${config.dataDir}, but it lies in the data folder ${dataDir} itself. Take the line out, or name the file with HAWSER_CONFIG`,
    ]);
  }
  const sources = Object.fromEntries(
    settings.map((setting) => [setting.path, found.get(setting.path)?.source ?? ({ kind: 'default' } as const)]),
  );
  return { config, sources, file: file === undefined ? undefined : path };
}

/** Where Hawser keeps everything when nobody says: /var/lib/hawser for root, else the user's data folder (XDG). */
export function usualDataDir({ uid, env, home }: Pick<ConfigInputs, 'uid' | 'env' | 'home'>): string {
  if (uid === 0) return '/var/lib/hawser';
  return join(env.XDG_DATA_HOME || join(home, '.local', 'share'), 'hawser');
}

/** For messages and `hawser config show`. */
export function placeOf(source: ConfigSource): string {
  switch (source.kind) {
    case 'flag':
      return `flag ${source.flag}`;
    case 'environment':
      return `variable ${source.variable}`;
    case 'file':
      return `${source.path} line ${source.line}`;
    case 'default':
      return 'default';
  }
}

async function openFile(inputs: ConfigInputs, dataDir: string, settings: readonly Setting[]) {
  const named = inputs.env.HAWSER_CONFIG;
  const path = named || join(dataDir, 'hawser.yaml');
  const text = await inputs.readFile(path);
  if (text === undefined && named) {
    throw refusal([`variable HAWSER_CONFIG: there is no file ${named}. Make it or unset the variable`]);
  }
  const file = text === undefined ? undefined : readConfigFile(text, settings);
  if (file !== undefined && file.faults.length > 0) {
    throw refusal(file.faults.map(({ line, message }) => `${path} line ${line}: ${message}`));
  }
  return { path, file };
}

interface Given {
  readonly value: unknown;
  readonly source: ConfigSource;
}

function givenFor(
  setting: Setting,
  inputs: ConfigInputs,
  path: string,
  file: ConfigFile | undefined,
): Given | undefined {
  const flag = inputs.flags[setting.path];
  if (flag !== undefined) return { value: flag, source: { kind: 'flag', flag: setting.flag } };
  const variable = inputs.env[setting.variable];
  if (variable !== undefined) return { value: variable, source: { kind: 'environment', variable: setting.variable } };
  const line = file?.values.get(setting.path);
  return line === undefined ? undefined : { value: line.value, source: { kind: 'file', path, line: line.line } };
}

/** What was typed as what the schema wants. */
function readValue(setting: Setting, given: unknown, source: ConfigSource): { value: unknown } | { fault: string } {
  if (setting.nullable && (given === null || given === '' || given === 'null' || given === 'none'))
    return { value: null };
  if (setting.kind === 'number') {
    const value = typeof given === 'string' ? parseNumber(given, setting.unit) : given;
    if (typeof value === 'number') return { value };
    return {
      fault: `${setting.path} must be ${numberForms(setting.unit)}${setting.nullable ? ' or null' : ''}; found ${shown(given)}`,
    };
  }
  if (setting.kind === 'list') return readList(setting, given, source);
  // A file may say `listen:` and nothing more.
  return { value: given === null && setting.kind === 'text' ? '' : given };
}

function readList(setting: Setting, given: unknown, source: ConfigSource): { value: unknown } | { fault: string } {
  let value = given;
  try {
    if (source.kind !== 'file' && typeof given === 'string') value = parse(given);
  } catch {
    value = undefined;
  }
  // One word on a command line is a list of one.
  if (source.kind !== 'file' && typeof value === 'string' && setting.items.length === 0) value = [value];
  if (!Array.isArray(value)) return { fault: `${setting.path} must be a list in JSON or YAML; found ${shown(given)}` };
  const known = setting.items.map((item) => item.path);
  for (const [index, item] of value.entries()) {
    const keys: readonly string[] = typeof item === 'object' && item !== null ? Object.keys(item) : [];
    const strange = keys.find((key) => !known.includes(key));
    if (strange !== undefined) {
      return { fault: `${setting.path}.${index} has no setting "${strange}"${meant(strange, known)}` };
    }
  }
  return { value };
}

/** Names that nobody knows, with the one that was probably meant. */
function strangers(
  inputs: ConfigInputs,
  settings: readonly Setting[],
  path: string,
  file: ConfigFile | undefined,
): string[] {
  const variables = [...settings.map((setting) => setting.variable), ...otherVariables];
  const fromEnv = Object.keys(inputs.env)
    .filter((name) => name.startsWith('HAWSER_') && !variables.includes(name) && inputs.env[name] !== undefined)
    .map((name) => `variable ${name}: there is no such setting${meant(name, variables)}`);
  const paths = settings.map((setting) => setting.path);
  const fromFile = (file?.unknown ?? []).map(
    ({ path: key, line }) => `${path} line ${line}: there is no setting "${key}"${meant(key, paths)}`,
  );
  const fromFlags = Object.keys(inputs.flags)
    .filter((key) => !paths.includes(key))
    .map((key) => `flag for "${key}": there is no such setting${meant(key, paths)}`);
  return [...fromFlags, ...fromEnv, ...fromFile];
}

function meant(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

function nested(found: ReadonlyMap<string, { readonly value: unknown }>): unknown {
  const root: Record<string, unknown> = {};
  for (const [path, { value }] of found) {
    const keys = path.split('.');
    const last = keys.pop() ?? path;
    let place = root;
    for (const key of keys) {
      const inner: Record<string, unknown> = { ...(place[key] as Record<string, unknown> | undefined) };
      place[key] = inner;
      place = inner;
    }
    place[last] = value;
  }
  return root;
}

function schemaFault(issue: z.core.$ZodIssue, found: ReadonlyMap<string, Given>): string {
  const path = issue.path.map(String);
  const setting = path.map((_, i) => path.slice(0, i + 1).join('.')).find((part) => found.has(part));
  const given = setting === undefined ? undefined : found.get(setting);
  const place = given === undefined ? 'default' : placeOf(given.source);
  const name = path.join('.');
  const message = issue.message.replace(/, received .*$/, '').replace(/^Invalid input: /, '');
  const value = given !== undefined && setting === name ? `; found ${shown(given.value)}` : '';
  return `${place}: ${name} is not right: ${message}${value}`;
}

/** Passwords stay out of messages, also when the value is wrong. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  const safe = text.replace(/:\/\/[^@"]*@/, '://***@');
  return safe.length > 120 ? `${safe.slice(0, 120)}…` : safe;
}

function refusal(faults: readonly string[]): HawserError {
  return new HawserError(
    'bad-request',
    `The configuration is not right:\n${faults.map((fault) => `  ${fault}.`).join('\n')}\ndocs/config.md lists every setting.`,
  );
}
