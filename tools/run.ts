import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const root: string = fileURLToPath(new URL('..', import.meta.url));

export interface RunOptions {
  /** `pass`: its output is ours. `keep`: it is returned. */
  readonly output: 'pass' | 'keep';
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface RunResult {
  readonly code: number;
  /** What it wrote to both streams, when kept. */
  readonly text: string;
}

/**
 * Runs a program to its end. The project's own programs (node_modules/.bin, its Node among them) are
 * found first. Never rejects: what cannot be started has the code 127.
 */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH ?? '', '/usr/sbin', '/sbin'].join(delimiter);
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const child = spawn(command, [...args], {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env, PATH: path },
      stdio: options.output === 'pass' ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    });
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', (error) => resolve({ code: 127, text: `${command}: ${error.message}` }));
    child.on('close', (code) => resolve({ code: code ?? 1, text: Buffer.concat(chunks).toString() }));
  });
}
