import { readdir, readFile } from 'node:fs/promises';

/** Memory of a process that is its own and no file's, bytes. 0 when it is gone. */
export async function rssAnon(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Keeps the largest of what it is given. */
export class Peak {
  #most = 0;

  get bytes(): number {
    return this.#most;
  }

  async sample(pid: number): Promise<void> {
    this.#most = Math.max(this.#most, await rssAnon(pid));
  }
}

/** CPU seconds that these processes have used so far, all their threads and the children they waited for. */
export async function cpuSeconds(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    // utime, stime, cutime, cstime are fields 14 to 17; the name in field 2 may have blanks.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / 100;
}

/** The process and all that descend from it now. */
export async function withDescendants(pid: number): Promise<readonly number[]> {
  const found = [pid];
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const children = await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '');
    for (const child of children.trim().split(' ')) {
      if (child !== '') found.push(...(await withDescendants(Number(child))));
    }
  }
  return found;
}
