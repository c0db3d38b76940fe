import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ClientEnd, ClientJob, ClientLife, CrashClient } from './harness.ts';
import { killGroup, program, root } from './server-group.ts';

/** `hawser upload FILE NAME`; run again after it was killed. */
export const cliClient: CrashClient = cliClientWith();

/** With more flags. */
export function cliClientWith(...flags: readonly string[]): CrashClient {
  return { start: (job) => start(job, flags) };
}

async function start({ url, token, file, name, folder }: ClientJob, flags: readonly string[]): Promise<ClientLife> {
  const child = spawn(process.execPath, [program, '--json', 'upload', ...flags, file, name], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A home of its own: no login file of the machine's user counts.
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, HAWSER_SERVER: url, HAWSER_TOKEN: token },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      said = `${said}${chunk}`.slice(-4000);
    });
  }
  await once(child, 'spawn');
  const ended = once(child, 'close').then(([code, signal]): ClientEnd => {
    if (code === 0) return { kind: 'done' };
    if (signal === 'SIGKILL') return { kind: 'killed' };
    return { kind: 'failed', said: `exit ${code ?? signal}: ${said}` };
  });
  return {
    ended,
    kill: () => killGroup(child.pid ?? 0),
    close: async () => {
      killGroup(child.pid ?? 0);
      await ended;
    },
  };
}
