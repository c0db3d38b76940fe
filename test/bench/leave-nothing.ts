import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Time for a server to stop by itself. */
const PATIENCE = 20_000;

/**
 * From now on these signals end everything that this process has started, then remove the folder, then end this process as they
 * would have. They may come again; nothing is hurried by it.
 */
export function leaveNothingBehind(folder: string): void {
  let ending = false;
  for (const signal of signals) {
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      process.stderr.write('\nstopping what was started\n');
      void end(signal, folder);
    });
  }
}

async function end(signal: NodeJS.Signals, folder: string): Promise<void> {
  const until = Date.now() + PATIENCE;
  // With the time of their start: an id may come again. Whose parent ends first is no descendant any more, but still ours.
  const seen = new Map<number, string>();
  const asked = new Set<number>();
  for (;;) {
    look(process.pid, (pid) => void seen.set(pid, startOf(pid) ?? ''));
    const alive = [...seen].filter(([pid, start]) => startOf(pid) === start).map(([pid]) => pid);
    if (alive.length === 0) break;
    const late = Date.now() > until;
    for (const pid of late ? alive : heads(process.pid).filter((one) => !asked.has(one))) {
      asked.add(pid);
      kill(pid, late ? 'SIGKILL' : 'SIGTERM');
    }
    await delay(50);
  }
  // In one go from the look that found nobody: nothing else of this process runs in between.
  rmSync(folder, { recursive: true, force: true });
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

function look(pid: number, found: (pid: number) => void): void {
  for (const child of childrenOf(pid)) {
    found(child);
    look(child, found);
  }
}

/** Whom to tell: a Hawser takes care of its own children, and in the right order. */
function heads(pid: number): readonly number[] {
  return childrenOf(pid).flatMap((child) => {
    const command = read(`/proc/${child}/cmdline`) ?? '';
    return /main\.ts\0(?:serve|control|agent)/.test(command) ? [child] : [child, ...heads(child)];
  });
}

function childrenOf(pid: number): readonly number[] {
  let threads: readonly string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // gone
  }
  const texts = threads.map((thread) => read(`/proc/${pid}/task/${thread}/children`) ?? '');
  return texts
    .flatMap((text) => text.trim().split(' '))
    .filter((text) => text !== '')
    .map(Number);
}

/** undefined: it is gone, or dead and not yet waited for. */
function startOf(pid: number): string | undefined {
  const stat = read(`/proc/${pid}/stat`);
  // State and start time are fields 3 and 22 of proc(5)'s stat; the name in field 2 may have blanks.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19];
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
