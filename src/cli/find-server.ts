import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { dataDirOf } from './data-dir.ts';
import type { GlobalOptions } from './terminal.ts';

export interface FoundServer {
  readonly server: string;
  readonly token: string | undefined;
  /** Certificates to trust, PEM. */
  readonly ca: string | undefined;
  /** Where it was found, for messages. */
  readonly from: string;
}

/** What `hawser login` keeps. */
export const loginFile = z.object({ server: z.string(), token: z.string(), ca: z.string().optional() });
const addressesFile = z.record(z.string(), z.string());

type Environment = Readonly<Record<string, string | undefined>>;

export function loginPath(env: Environment = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'hawser', 'login.json');
}

/**
 * The server to talk to: the flag, HAWSER_SERVER, the login file, then a `hawser serve` of this machine
 * by its data folder. The first one that names a server counts; a token given by flag or environment
 * goes before the one found with it. Throws `unavailable` with all that was tried.
 */
export async function findServer(options: GlobalOptions, env: Environment = process.env): Promise<FoundServer> {
  const token = options.token ?? (env.HAWSER_TOKEN || undefined);
  const caPath = options.ca ?? (env.HAWSER_CA || undefined);
  const ca = caPath === undefined ? undefined : await readFile(caPath, 'utf8');
  const login = await readJson(loginPath(env), loginFile);
  const local = await localServer(options, env);
  const named = options.server ?? (env.HAWSER_SERVER || undefined);
  if (named !== undefined) {
    const from = options.server === undefined ? 'HAWSER_SERVER' : '--server';
    const server = httpUrl(named);
    const known = [login, local].find((each) => each !== undefined && httpUrl(each.server) === server);
    return { server, token: token ?? known?.token, ca: ca ?? known?.ca, from };
  }
  // A server that runs here, told by a data folder that was named, goes before a sign-in elsewhere.
  const here = options.dataDir !== undefined || env.HAWSER_DATA_DIR ? local : undefined;
  if (login !== undefined && here === undefined) {
    return { server: httpUrl(login.server), token: token ?? login.token, ca: ca ?? login.ca, from: 'the login file' };
  }
  if (local !== undefined) return { ...local, token: token ?? local.token, ca: ca ?? local.ca };
  throw new HawserError(
    'unavailable',
    `No server was named and none runs here. Tried: --server, HAWSER_SERVER, the login file (${loginPath(env)}), and run/addresses.json in the data folder (${dataDirOf(options.dataDir, env)}).`,
    { details: { next: 'Start one here (hawser serve), or sign in to one: hawser login URL.' } },
  );
}

async function localServer(options: GlobalOptions, env: Environment): Promise<FoundServer | undefined> {
  const folder = dataDirOf(options.dataDir, env);
  const addresses = await readJson(join(folder, 'run', 'addresses.json'), addressesFile);
  const api = addresses?.api;
  if (api === undefined) return undefined;
  const token = await readFile(join(folder, 'run', 'admin-token'), 'utf8').catch(() => undefined);
  const server = httpUrl(api);
  const ca = server.startsWith('https:')
    ? await readFile(join(folder, 'keys', 'server.crt'), 'utf8').catch(() => undefined)
    : undefined;
  return { server, token: token?.trim(), ca, from: `the data folder ${folder}` };
}

function httpUrl(text: string): string {
  const url = /^https?:\/\//i.test(text) ? text : `http://${text}`;
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname.replace(/\/+$/, '')}`;
  } catch {
    throw new HawserError('bad-request', `"${text}" is not the address of a server, such as http://127.0.0.1:7800.`);
  }
}

/** undefined when there is no such file. */
async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HawserError('bad-request', `The file ${path} cannot be understood. Remove it, or sign in again.`, {
      cause,
    });
  }
}
