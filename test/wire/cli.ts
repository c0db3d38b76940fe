import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
  /** Bytes that its read calls gave, from files, pipes and sockets alike (`rchar` of proc(5)). */
  readonly readBytes: number;
}

export interface CliOptions {
  readonly server: string;
  readonly token: string;
  readonly cwd: string;
  readonly home?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with its pid a few times a second. */
  readonly sample?: (pid: number) => Promise<void>;
}

/** Runs the real `hawser` to its end, whatever that is. */
export async function runCli(args: readonly string[], options: CliOptions): Promise<CliResult> {
  const begun = performance.now();
  // A shell that has waited for its child has the child's counters added to its own.
  const child = spawn('sh', ['-c', COUNTED, 'sh', join(root, 'bin/hawser'), ...args], {
    cwd: options.cwd,
    env: {
      PATH: process.env.PATH,
      HOME: options.home ?? options.cwd,
      HAWSER_SERVER: options.server,
      HAWSER_TOKEN: options.token,
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  let counters = '';
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    counters += chunk.toString();
  });
  const { sample } = options;
  const sampler = sample && setInterval(() => void sampleChild(child.pid ?? 0, sample), 100);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(sampler);
  const readBytes = Number(/rchar: (\d+)/.exec(counters)?.[1] ?? Number.NaN);
  return { code, stdout, stderr, seconds: (performance.now() - begun) / 1000, readBytes };
}

const COUNTED = '"$@" 3>&-; code=$?; cat /proc/$$/io >&3; exit $code';

async function sampleChild(shell: number, sample: (pid: number) => Promise<void>): Promise<void> {
  const children = await readFile(`/proc/${shell}/task/${shell}/children`, 'utf8').catch(() => '');
  const [pid] = children.trim().split(' ');
  // It may end while it is looked at.
  if (pid) await sample(Number(pid)).catch(() => {});
}
