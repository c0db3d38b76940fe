import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { findLeftOvers, RUN_MARK } from '../../tools/left-over.ts';
import { hintsOf, NO_HINT, readReport } from '../../tools/test-report.ts';

function file(status: string, ...tests: readonly (readonly [status: string, fullName: string])[]) {
  return { status, assertionResults: tests.map(([state, fullName]) => ({ status: state, fullName })) };
}

test('tests are counted by how they ended', () => {
  const json = JSON.stringify({
    testResults: [
      file('passed', ['passed', 'a'], ['skipped', 'b [needs: run as root]']),
      file('failed', ['failed', 'c'], ['todo', 'd']),
    ],
  });
  expect(readReport(json)).toEqual({ passed: 1, failed: 1, skipped: ['b [needs: run as root]', 'd'] });
});

test('a file that could not be loaded is a failure', () => {
  expect(readReport(JSON.stringify({ testResults: [file('failed'), file('passed', ['passed', 'a'])] }))).toMatchObject({
    passed: 1,
    failed: 1,
  });
});

test.each(['', '{', 'null', '{}', '{"testResults":[]}', '{"testResults":3}'])('the report %j is a failure', (json) => {
  expect(readReport(json)).toEqual({ passed: 0, failed: 1, skipped: [] });
});

test('what must be typed is said once, the most useful line first', () => {
  const hints = hintsOf([
    'a [needs: run as root]',
    'b [needs: apt-get install x]',
    'c [needs: apt-get install x]',
    'd',
  ]);
  expect([...hints]).toEqual([
    ['apt-get install x', ['b [needs: apt-get install x]', 'c [needs: apt-get install x]']],
    ['run as root', ['a [needs: run as root]']],
    [NO_HINT, ['d']],
  ]);
});

test('a process that outlives its run is found by its mark, also a grandchild', async () => {
  const mark = randomUUID();
  const child = spawn('sh', ['-c', 'sleep 600 & echo $!; wait'], { env: { ...process.env, [RUN_MARK]: mark } });
  const [line] = await once(child.stdout, 'data');
  const grandchild = Number(String(line));
  try {
    const left = await findLeftOvers(mark, 0);
    expect(left.map(({ pid }) => pid).sort()).toEqual([child.pid, grandchild].sort());
  } finally {
    process.kill(grandchild);
    child.kill();
  }
  await once(child, 'close');
  expect(await findLeftOvers(mark, 10_000)).toEqual([]);
});
