import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { root } from '../../tools/run.ts';

/** `.ci/run` with a PATH of our own, in which npm is a script that ends as the test wants. */
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hawser-ci-'));
  mkdirSync(join(folder, '.ci'));
  mkdirSync(join(folder, 'bin'));
  cpSync(join(root, '.ci', 'run'), join(folder, '.ci', 'run'));
  for (const name of ['bash', 'env', 'mktemp', 'tee', 'grep', 'tail', 'dirname', 'rm', 'mkdir']) {
    symlinkSync(`/usr/bin/${name}`, join(folder, 'bin', name));
  }
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function runCi(npm?: string) {
  if (npm !== undefined) writeFileSync(join(folder, 'bin', 'npm'), `#!/usr/bin/env bash\n${npm}\n`, { mode: 0o755 });
  const { status, stdout } = spawnSync(join(folder, '.ci', 'run'), [], {
    cwd: '/',
    env: { PATH: join(folder, 'bin'), TMPDIR: folder, HOME: '/nowhere' },
    encoding: 'utf8',
  });
  return { status, lines: stdout.trimEnd().split('\n') };
}

test('the closing line of the tests is the last one, and a pass is a pass', () => {
  const { status, lines } = runCi('echo "$CI $1 $PWD"; [ -w "$HOME" ] && echo at home; echo "5 passed, 0 failed"');
  expect(lines).toEqual([`true cit ${folder}`, 'at home', '5 passed, 0 failed', '', '5 passed, 0 failed']);
  expect(status).toBe(0);
});

test('a failed test is a failure, whatever npm says after it', () => {
  const { status, lines } = runCi('echo "4 passed, 1 failed"; echo "npm error code 1" >&2; exit 1');
  expect(lines.slice(-3)).toEqual(['npm error code 1', '', '4 passed, 1 failed']);
  expect(status).toBe(1);
});

test.each([
  ['an installation that fails', 'echo "npm error network" >&2; exit 7', 7],
  ['tests that never came to their end', 'echo "looks good"', 1],
  ['no npm', undefined, 127],
])('%s is a failure with a closing line', (_name, npm, code) => {
  const { status, lines } = runCi(npm);
  expect(lines.at(-1)).toBe('0 passed, 1 failed');
  expect(status).toBe(code);
});
