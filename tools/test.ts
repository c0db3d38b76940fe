import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { findLeftOvers, RUN_MARK } from './left-over.ts';
import { root, run } from './run.ts';
import { setUp } from './setup.ts';
import { hintsOf, NO_HINT, readReport, type TestReport } from './test-report.ts';

/**
 * `npm test`: the fast tests. With CI=true everything: set-up, page, checks, all tests; there a
 * skipped test is a failed one. Arguments go to vitest. The last line is `N passed, N failed`.
 */
const everything = process.env.CI === 'true';
const faults: string[] = [];

if (everything) {
  if (!(await setUp())) faults.push('set-up');
  if (!(await passes('build:web', 'tools/web-build.ts', '--if-stale'))) faults.push('building the page');
  if (!(await passes('check', 'tools/check.ts'))) faults.push('npm run check');
}
const mark = randomUUID();
const { report, code } = await runTests(mark);
if (everything) await nameLeftOvers(mark);
if (code !== 0 && report.failed === 0) faults.push('vitest (an error outside of the tests, see above)');
sayWhatWasSkipped(report);
if (faults.length > 0) console.log(`\nFailed besides the tests: ${faults.join(', ')}`);

const failed = report.failed + (everything ? report.skipped.length : 0);
console.log(`\n${report.passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && faults.length === 0 ? 0 : 1;

async function passes(name: string, ...args: readonly string[]): Promise<boolean> {
  console.log(`\n> ${name}`);
  return (await run('node', args, { output: 'pass' })).code === 0;
}

async function runTests(runMark: string): Promise<{ readonly report: TestReport; readonly code: number }> {
  const file = join(root, '.cache', `tests-${runMark}.json`);
  await mkdir(join(root, '.cache'), { recursive: true });
  const projects = everything ? [] : ['--project', 'fast'];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  console.log('\n> tests');
  const { code } = await run('vitest', ['run', ...projects, ...reporters, ...process.argv.slice(2)], {
    output: 'pass',
    env: { [RUN_MARK]: runMark },
  });
  const report = readReport(await readFile(file, 'utf8').catch(() => ''));
  await rm(file, { force: true });
  return { report, code };
}

async function nameLeftOvers(runMark: string): Promise<void> {
  const left = await findLeftOvers(runMark, 10_000);
  if (left.length === 0) return;
  faults.push('processes that the tests left behind');
  for (const { pid, command } of left) {
    console.log(`left behind: ${pid} ${command}`);
    await run('kill', ['-KILL', String(pid)], { output: 'keep' });
  }
}

function sayWhatWasSkipped({ skipped }: TestReport): void {
  if (skipped.length === 0) return;
  console.log(
    `\n${skipped.length} tests were skipped${everything ? ', which is a failure with CI=true' : ''}. To run them:`,
  );
  for (const [hint, names] of hintsOf(skipped)) {
    console.log(`  ${String(names.length).padStart(4)}  ${hint}`);
    if (hint === NO_HINT) for (const name of names) console.log(`        ${name}`);
  }
}
