import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './run.ts';

/** `npm run check`: everything that is checked without running the program. Two at a time, a line each. */
interface Check {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Left out when this file is not there. */
  readonly needs?: string;
}

const checks: readonly Check[] = [
  { name: 'types', command: 'tsc', args: ['-p', '.'] },
  {
    name: 'types of the page',
    command: 'tsc',
    args: ['-p', 'web', '--incremental', '--tsBuildInfoFile', '.cache/tsc-web.tsbuildinfo'],
    needs: 'web/tsconfig.json',
  },
  { name: 'style', command: 'biome', args: ['ci', '--colors=off', '--max-diagnostics=50', '.'] },
  { name: 'import law', command: 'node', args: ['tools/import-law.ts'] },
  { name: 'unused', command: 'knip', args: ['--no-progress'] },
  { name: 'generated documents', command: 'node', args: ['tools/docs.ts', '--check'], needs: 'tools/docs.ts' },
  { name: 'words', command: 'node', args: ['tools/words.ts'] },
  { name: 'change notes', command: 'node', args: ['tools/change-notes.ts'] },
];

const waiting = checks.filter(({ needs }) => needs === undefined || existsSync(join(root, needs)));
const failed: string[] = [];
await Promise.all([lane(), lane()]);
console.log(failed.length === 0 ? 'check: all is well' : `check: failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;

async function lane(): Promise<void> {
  for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
    const started = performance.now();
    const { code, text } = await run(check.command, check.args, { output: 'keep' });
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${check.name} (${seconds} s)`);
    if (code === 0) continue;
    failed.push(check.name);
    console.log(text.trimEnd().replaceAll(/^/gm, '       '));
  }
}
