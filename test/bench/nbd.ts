import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { childSeconds, type Sample } from './measure.ts';

export interface NbdResult {
  readonly name: string;
  readonly bytes: number;
  readonly hawser: readonly Sample[];
  readonly nbdcopy: readonly Sample[];
}

const run = promisify(execFile);
const ours = fileURLToPath(new URL('./nbd-copy.ts', import.meta.url));

/** Our NBD client against nbdcopy, both as a process of their own against the same qemu-nbd; CPU is of the client. */
export async function nbdCase(
  folder: string,
  source: string,
  { rounds, size }: { readonly rounds: number; readonly size: number },
): Promise<readonly NbdResult[]> {
  const image = join(folder, 'nbd.img');
  const socket = join(folder, 'nbd.sock');
  const pid = join(folder, 'nbd.pid');
  await writeFile(image, '');
  await truncate(image, size);
  const server = spawn('qemu-nbd', [`--socket=${socket}`, '-f', 'raw', '-t', '-e', '8', `--pid-file=${pid}`, image]);
  try {
    while (!existsSync(pid)) {
      if (server.exitCode !== null) throw new Error('qemu-nbd did not start');
      await wait(10);
    }
    const uri = `nbd+unix:///?socket=${socket}`;
    const contests = [
      {
        name: 'write',
        hawser: [process.execPath, ours, 'write', socket, source],
        nbdcopy: ['nbdcopy', '--flush', source, uri],
      },
      { name: 'read', hawser: [process.execPath, ours, 'read', socket], nbdcopy: ['nbdcopy', uri, 'null:'] },
    ] as const;
    const results: NbdResult[] = [];
    for (const { name, ...commands } of contests) {
      const samples = { hawser: [] as Sample[], nbdcopy: [] as Sample[] };
      for (let round = 0; round <= rounds; round++) {
        for (const side of round % 2 === 0 ? (['nbdcopy', 'hawser'] as const) : (['hawser', 'nbdcopy'] as const)) {
          const sample = await timed(commands[side]);
          if (round > 0) samples[side].push(sample);
        }
      }
      results.push({ name, bytes: size, ...samples });
    }
    return results;
  } finally {
    server.kill();
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    await rm(image);
  }
}

async function timed([command, ...args]: readonly [string, ...string[]]): Promise<Sample> {
  const before = await childSeconds();
  const begun = performance.now();
  const { stdout } = await run(command, args);
  // Our own client says it itself, see nbd-copy.ts.
  if (stdout.startsWith('{')) return JSON.parse(stdout) as Sample;
  const seconds = (performance.now() - begun) / 1000;
  return { seconds, cpuSeconds: (await childSeconds()) - before };
}
