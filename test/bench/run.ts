import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Runs a program to its end; throws with what it said when that is a failure. Its standard output. */
export async function runQuietly([command = '', ...args]: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args);
  return stdout;
}
