import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { debianPackages } from './debian-packages.ts';
import { run } from './run.ts';

/**
 * Installs the Debian packages that the whole set of tests needs, when we are root on Debian and some
 * are missing. Elsewhere it changes nothing and names what is missing. False: an installation failed.
 */
export async function setUp(): Promise<boolean> {
  const missing = await missingPackages();
  if (missing.length === 0) return true;
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    console.log(`setup: not installed, and not root on Debian: ${missing.join(' ')}`);
    return true;
  }
  console.log(`setup: installing ${missing.join(' ')}`);
  const installed =
    (await aptGet(['update', '-qq'])) &&
    (await aptGet(['install', '-y', '-qq', '--no-install-recommends', ...missing]));
  const left = installed ? await missingPackages() : missing;
  if (left.length > 0) console.log(`setup: could not install ${left.join(' ')}`);
  return left.length === 0;
}

async function missingPackages(): Promise<readonly string[]> {
  const wanted = Object.keys(debianPackages);
  // It exits with 1 when a package is unknown, and still lists the others.
  const format = ['-f=$', '{Package} $', '{db:Status-Status}\n'].join('');
  const { text } = await run('dpkg-query', ['-W', format, ...wanted], { output: 'keep' });
  const there = new Set(text.split('\n'));
  return wanted.filter((name) => !there.has(`${name} installed`));
}

/** Mirrors and locks fail for moments on fresh machines. */
async function aptGet(args: readonly string[]): Promise<boolean> {
  const env = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };
  for (let attempt = 1; attempt <= 4; attempt++) {
    const { code, text } = await run('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], { output: 'keep', env });
    if (code === 0) return true;
    console.log(
      `setup: apt-get ${args[0]} failed (${attempt} of 4):\n${text.trimEnd().split('\n').slice(-8).join('\n')}`,
    );
    if (attempt < 4) await wait(attempt * 5000);
  }
  return false;
}

if (import.meta.main) process.exitCode = (await setUp()) ? 0 : 1;
