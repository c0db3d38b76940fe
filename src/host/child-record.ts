import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { HawserError } from '../core/errors.ts';
import { readIfThere, removeFile, writeFileAtomic } from './atomic-file.ts';

/** A process that must not outlive us: its number alone may be another's by now, with its start it is one only. */
const record = z.object({ pid: z.number().int().positive(), start: z.string(), boot: z.string() });
const SUFFIX = '.process.json';

/** Writes down that `pid` runs, in `folder` under `name`, so that `endRecorded` finds it after a crash of ours. */
export async function recordChild(folder: string, name: string, pid: number): Promise<void> {
  const start = await startOf(pid);
  if (start === undefined) return;
  await writeFileAtomic(join(folder, `${name}${SUFFIX}`), JSON.stringify({ pid, start, boot: await bootId() }));
}

export async function forgetChild(folder: string, name: string): Promise<void> {
  await removeFile(join(folder, `${name}${SUFFIX}`));
}

/** Ends every recorded process that still runs. Names of those whose record was there. */
export async function endRecorded(folder: string): Promise<readonly string[]> {
  const boot = await bootId();
  const names = (await readdir(folder)).filter((file) => file.endsWith(SUFFIX));
  for (const name of names) {
    const found = record.safeParse(parse(await readIfThere(join(folder, name))));
    if (found.success && found.data.boot === boot) await endProcess(found.data.pid, found.data.start);
    await removeFile(join(folder, name));
  }
  return names.map((name) => name.slice(0, -SUFFIX.length));
}

/** Kills the process unless its number belongs to another one by now, and waits until it is gone. */
async function endProcess(pid: number, start: string): Promise<void> {
  for (let waited = 0; waited < 10_000; waited += 10) {
    if ((await startOf(pid)) !== start) return;
    kill(pid);
    await wait(10);
  }
  throw new HawserError('unavailable', `A left-over process of an earlier run (${pid}) does not end. End it by hand.`);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Clock ticks after the boot; undefined: no such process, or it has ended and only its parent has not looked. Source: proc(5), stat. */
async function startOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field is the name in brackets, which may hold brackets and blanks.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
}

function parse(bytes: Buffer | undefined): unknown {
  try {
    return JSON.parse(bytes?.toString('utf8') ?? '');
  } catch {
    // Torn or emptied by somebody: then nothing is known of a process.
    return undefined;
  }
}
