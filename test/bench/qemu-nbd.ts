import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export interface QemuNbd extends AsyncDisposable {
  readonly socket: string;
  readonly uri: string;
}

/** A qemu-nbd over an empty raw file of this size (or `file`) in the page cache, for up to 16 connections. */
export async function startQemuNbd(below: string, size: number, file?: string): Promise<QemuNbd> {
  const folder = await mkdtemp(join(below, 'qemu-nbd-'));
  const image = file ?? join(folder, 'image');
  const [socket, pid] = [join(folder, 'sock'), join(folder, 'pid')];
  if (file === undefined) {
    await writeFile(image, '');
    await truncate(image, size);
  }
  const server = spawn('qemu-nbd', [`--socket=${socket}`, '-f', 'raw', '-t', '-e', '16', `--pid-file=${pid}`, image]);
  while (!existsSync(pid)) {
    if (server.exitCode !== null) throw new Error('qemu-nbd did not start');
    await wait(10);
  }
  return {
    socket,
    uri: `nbd+unix:///?socket=${socket}`,
    async [Symbol.asyncDispose]() {
      server.kill();
      if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
      await rm(folder, { recursive: true });
    },
  };
}
