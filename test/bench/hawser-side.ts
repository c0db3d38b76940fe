import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { withDescendants } from '../wire/proc.ts';
import { BenchApi } from './api.ts';
import { curlAll } from './curl.ts';
import { type Part, type Put, type Side, stretches } from './side.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface HawserSide extends Side {
  readonly api: BenchApi;
  /** The node process that serves, for its memory. */
  readonly servePid: number;
  readonly dataDir: string;
}

interface Access {
  readonly url: string;
  readonly token: string;
}

interface Begun {
  readonly id: string;
  readonly imageId: string;
}

/** The server that `npm start` starts: sign-in, journal and database on. Bytes go where clients send them: to the data listener, with a ticket. */
export async function startHawser(below: string, tls: boolean): Promise<HawserSide> {
  const folder = await mkdtemp(join(below, 'hawser-bench-'));
  const dataDir = join(folder, 'data');
  await mkdir(dataDir, { mode: 0o700 });
  const child = spawn('npm', ['start'], {
    cwd: root,
    env: {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(HAWSER_|NODE_ENV|VITEST)/.test(name))),
      HAWSER_DATA_DIR: dataDir,
      HAWSER_LISTEN: '127.0.0.1:0',
      HAWSER_DATA_LISTEN: '127.0.0.1:0',
      HAWSER_TLS_MODE: tls ? 'on' : 'off',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const end = async () => {
    await stop(child);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const base = await addressOf(child, dataDir);
    const token = (await readFile(join(dataDir, 'run', 'admin-token'), 'utf8')).trim();
    const api = new BenchApi(base, token);
    return {
      name: 'hawser',
      pid: child.pid ?? 0,
      servePid: await lockHolder(dataDir),
      dataDir,
      api,
      ...operations(api),
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

function operations(api: BenchApi): Pick<Side, 'put' | 'store' | 'get'> {
  let kept: Access | undefined;
  // What is measured must be what the page says.
  const asWanted = (access: Access) => {
    if (new URL(access.url).protocol === new URL(api.base).protocol) return access;
    throw new Error(`The data listener is at ${access.url}, the API at ${api.base}: one of them has no TLS.`);
  };
  const begin = async (size: number) => {
    const upload = await api.call<Begun>('POST', '/uploads', { name: 'bench', size });
    return { upload, access: asWanted(await api.call<Access>('GET', `/uploads/${upload.id}/access`)) };
  };
  const sendAll = ({ url, token }: Access, parts: readonly Part[], size: number) =>
    curlAll(
      parts.map(({ file, offset, length }) => ({
        url: `${url}/data`,
        file,
        headers: [`Authorization: Bearer ${token}`, `Content-Range: bytes ${offset}-${offset + length - 1}/${size}`],
      })),
    );
  return {
    async put(parts, size): Promise<Put> {
      const { upload, access } = await begin(size);
      return {
        send: () => sendAll(access, parts, size),
        remove: () => api.call('DELETE', `/images/${upload.imageId}`),
      };
    },
    async store(file, size) {
      const { upload, access } = await begin(size);
      await sendAll(access, [{ file, offset: 0, length: size }], size);
      await api.call('POST', `/uploads/${upload.id}/finish`);
      kept = asWanted(await api.call<Access>('GET', `/images/${upload.imageId}/access`));
    },
    async get(streams, size) {
      const { url, token } = kept ?? { url: '', token: '' };
      const headers = [`Authorization: Bearer ${token}`];
      await curlAll(rangesOf(streams, size).map((range) => ({ url: `${url}/data`, headers, ...range })));
    },
  };
}

/** One stream asks for the whole, several for a range each. */
export function rangesOf(streams: number, size: number): readonly { range?: readonly [number, number] }[] {
  return streams === 1 ? [{}] : stretches(size, streams).map((range) => ({ range }));
}

async function addressOf(child: ChildProcess, dataDir: string): Promise<string> {
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString()}`.slice(-4000);
    });
  }
  const file = join(dataDir, 'run', 'addresses.json');
  while (!existsSync(file)) {
    if (child.exitCode !== null) throw new Error(`npm start ended with ${child.exitCode}: ${said}`);
    await delay(100);
  }
  return String((JSON.parse(await readFile(file, 'utf8')) as { readonly api: string }).api);
}

/** The process that serves writes its id into the lock of the data folder. */
async function lockHolder(dataDir: string): Promise<number> {
  return Number((await readFile(join(dataDir, 'lock'), 'utf8')).trim());
}

/** npm stands in front: the signal goes to the one that serves, then all of them end. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const pids = await withDescendants(child.pid ?? 0);
  for (const pid of [...pids].reverse()) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (/main\.ts\0serve/.test(command)) process.kill(pid, 'SIGTERM');
  }
  const hard = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await gone;
  clearTimeout(hard);
}
