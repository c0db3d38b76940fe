import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { makeDataFolder } from '../data-folder.ts';
import { RecordingProxy } from './recording-proxy.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PATIENCE_MS = 240_000;

/** A real `hawser serve` in a folder of its own, a proxy that records what goes to it, and a real Chromium. */
export interface Stage extends AsyncDisposable {
  /** What pages open: the proxy. */
  readonly url: string;
  /** The server itself. */
  readonly serverUrl: string;
  readonly token: string;
  /** Goes with the stage; tests put their files here. */
  readonly folder: string;
  readonly proxy: RecordingProxy;
  readonly browser: Browser;
  /** A page that is signed in and was not offered a password. */
  signedIn(options?: SignInOptions): Promise<SignedIn>;
  /** A call of the native API past the browser. */
  api<T>(method: string, path: string, body?: unknown): Promise<T>;
}

export interface SignInOptions {
  readonly theme?: 'light' | 'dark';
  readonly width?: number;
  /** Another name of the stage than its own URL. */
  readonly url?: string;
}

export interface SignedIn extends AsyncDisposable {
  readonly page: Page;
  readonly context: BrowserContext;
}

export interface StageOptions {
  /** Text of the server's configuration file. */
  readonly yaml?: string;
  /** More arguments for Chromium. */
  readonly browserArgs?: readonly string[];
}

export async function openStage({ yaml = '', browserArgs = [] }: StageOptions = {}): Promise<Stage> {
  await promisify(execFile)(process.execPath, [join(root, 'tools/web-build.ts'), '--if-stale'], { cwd: root });
  const folder = await mkdtemp(join(tmpdir(), 'hawser-browser-'));
  const dataDir = await makeDataFolder(join(folder, 'data'));
  const config = join(folder, 'hawser.yaml');
  await writeFile(config, yaml);
  const child = startServe(dataDir, config);
  try {
    const serverUrl = await addressOf(child, dataDir);
    const token = (await readFile(join(dataDir, 'run', 'admin-token'), 'utf8')).trim();
    const proxy = await RecordingProxy.open(serverUrl);
    const browser = await chromium.launch({
      executablePath: '/usr/bin/chromium',
      args: [...chromiumArgs, ...browserArgs],
    });
    return {
      url: proxy.url,
      serverUrl,
      token,
      folder,
      proxy,
      browser,
      signedIn: (options = {}) => signIn({ browser, url: proxy.url, token }, options),
      api: (method, path, body) => callApi({ serverUrl, token }, { method, path, body }),
      async [Symbol.asyncDispose]() {
        await browser.close();
        await proxy.close();
        await stop(child);
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await stop(child);
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** A file dropped from outside the browser, as a person would, at the middle of the page. */
export async function dropFiles(page: Page, files: readonly string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [...files], dragOperationsMask: 1 };
  const { width, height } = page.viewportSize() ?? { width: 800, height: 600 };
  const at = { x: Math.round(width / 2), y: Math.round(height / 2), data };
  await session.send('Input.dispatchDragEvent', { type: 'dragEnter', ...at });
  await session.send('Input.dispatchDragEvent', { type: 'dragOver', ...at });
  await session.send('Input.dispatchDragEvent', { type: 'drop', ...at });
  await session.detach();
}

/** What Chromium needs to run as root and to ask nobody on the network. */
export const chromiumArgs: readonly string[] = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function startServe(dataDir: string, config: string): ChildProcess {
  return spawn(process.execPath, [join(root, 'src/cli/main.ts'), 'serve'], {
    cwd: root,
    env: {
      ...process.env,
      HAWSER_DATA_DIR: dataDir,
      HAWSER_LISTEN: '127.0.0.1:0',
      HAWSER_DATA_LISTEN: '127.0.0.1:0',
      HAWSER_AGENT_LISTEN: '127.0.0.1:0',
      HAWSER_CONFIG: config,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

/** The address of the API once the server says that it is ready. */
async function addressOf(child: ChildProcess, dataDir: string): Promise<string> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-4000);
  });
  const file = join(dataDir, 'run', 'addresses.json');
  while (!existsSync(file)) {
    if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}: ${said}`);
    await delay(50);
  }
  const addresses = JSON.parse(await readFile(file, 'utf8')) as { readonly api: string };
  return addresses.api.includes('://') ? addresses.api.replace(/\/$/, '') : `http://${addresses.api}`;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

interface Door {
  readonly browser: Browser;
  readonly url: string;
  readonly token: string;
}

async function signIn(door: Door, { theme = 'light', width = 1280, url = door.url }: SignInOptions): Promise<SignedIn> {
  // Nothing is looked at half faded in.
  const context = await door.browser.newContext({
    colorScheme: theme,
    viewport: { width, height: 900 },
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.setDefaultNavigationTimeout(PATIENCE_MS);
  await page.addInitScript(() => localStorage.setItem('hawser-password-later', 'admin'));
  await page.goto(url);
  await page.getByLabel('Admin token').fill(door.token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Images', level: 1 }).waitFor();
  return { page, context, [Symbol.asyncDispose]: () => context.close() };
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

async function callApi<T>(to: { readonly serverUrl: string; readonly token: string }, call: Call): Promise<T> {
  const response = await fetch(`${to.serverUrl}/api/v1${call.path}`, {
    method: call.method,
    headers: {
      authorization: `Bearer ${to.token}`,
      ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${call.method} ${call.path}: ${response.status} ${text}`);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}
