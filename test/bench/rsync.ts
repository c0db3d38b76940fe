import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A real rsync daemon on loopback that serves the files of one folder. */
export interface RsyncDaemon extends AsyncDisposable {
  /** `rsync` of one of them to `target`; resolves when the daemon's side has ended too. */
  fetch(name: string, target: string, options: readonly string[]): Promise<void>;
}

/** The daemon is started for each connection, as by inetd: so the kernel picks the port, and it is ours. */
export async function startRsyncDaemon(serves: string, folder: string): Promise<RsyncDaemon> {
  const config = join(folder, 'rsyncd.conf');
  const root = process.getuid?.() === 0 ? 'uid = root\ngid = root\n' : '';
  await writeFile(config, `use chroot = no\nlog file = /dev/null\n${root}[bench]\npath = ${serves}\nread only = yes\n`);
  const daemons = new Set<Promise<unknown>>();
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    const daemon = spawn('rsync', ['--daemon', `--config=${config}`], { stdio: [socket, 'ignore', 'inherit'] });
    const gone = once(daemon, 'exit').finally(() => daemons.delete(gone));
    daemons.add(gone);
    // It has the connection now.
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    async fetch(name, target, options) {
      await promisify(execFile)('rsync', [...options, `rsync://127.0.0.1:${port}/bench/${name}`, target]);
      await Promise.all(daemons);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
      await Promise.all(daemons);
    },
  };
}
