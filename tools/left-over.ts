import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';

/** The environment variable that marks all processes of one run of the tests: children inherit it. */
export const RUN_MARK = 'HAWSER_TEST_RUN';

export interface LeftOver {
  readonly pid: number;
  readonly command: string;
}

/** Processes with this mark that are still there after `patience`; empty where there is no /proc. */
export async function findLeftOvers(mark: string, patience: number): Promise<readonly LeftOver[]> {
  const end = performance.now() + patience;
  let left = await markedProcesses(mark);
  while (left.length > 0 && performance.now() < end) {
    await wait(100);
    left = await markedProcesses(mark);
  }
  return left;
}

async function markedProcesses(mark: string): Promise<readonly LeftOver[]> {
  const pids = (await readOr('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await textOr(`/proc/${pid}/environ`);
      if (!`\0${environment}`.includes(`\0${RUN_MARK}=${mark}\0`)) return [];
      const command = (await textOr(`/proc/${pid}/cmdline`)).replaceAll('\0', ' ').trim().slice(0, 160);
      return command === '' ? [] : [{ pid: Number(pid), command }];
    }),
  );
  return found.flat();
}

/** A process may be gone, or another user's, by the time we look. */
async function textOr(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}

async function readOr(path: string): Promise<readonly string[]> {
  return await readdir(path).catch(() => []);
}
