import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { root } from '../../tools/run.ts';
import { findWords } from '../../tools/words.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hawser-words-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function findingsOf(file: string, text: string): Promise<readonly string[]> {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), text);
  return (await findWords(folder)).map(({ file: found, line, what }) => `${found}:${line} ${what}`);
}

test.each([
  ['const diskSize = 1;', 'disk" in diskSize'],
  ['interface LocalDisks {}', 'disk" in LocalDisks'],
  ['type T = { readonly s3Backend: string };', 'backend" in s3Backend'],
  ['class A { #session = 1; }', 'session" in #session'],
  ['function startJob() {}', 'job" in startJob'],
  ['const MAX_JOBS = 2;', 'job" in MAX_JOBS'],
  ["import { jobs } from './x.ts';", 'job" in jobs'],
])('%s is refused where our words hold', async (code, expected) => {
  for (const part of ['core', 'engine', 'stores', 'service', 'db']) {
    expect((await findingsOf(`src/${part}/a.ts`, `// a\n${code}\n`)).join()).toContain(
      `src/${part}/a.ts:2 "${expected}`,
    );
    rmSync(join(folder, 'src'), { recursive: true });
  }
  expect(await findingsOf('src/doors/glance/a.ts', code)).toEqual([]);
});

test('a file may not be named so either', async () => {
  expect(await findingsOf('src/engine/disk-reader.ts', 'export const a = 1;')).toHaveLength(1);
});

test.each([
  '// a disk, as oVirt calls it\nconst volume = 1;',
  '/** A backend of imageio. */\nconst store = 1;',
  "const message = 'the disk is full';",
  'const diskette = 1, sessional = 2, jobless = 3;',
])('%s is left alone', async (code) => {
  expect(await findingsOf('src/core/a.ts', code)).toEqual([]);
});

test.each([
  ['the host name of a registry', ['https://registry', 'npmjs', 'org/vite'].join('.')],
  ['the host name of a registry', `image: ${['ghcr', 'io'].join('.')}/x`],
  ['a path of a build machine', `see ${['', 'work', 'main'].join('/')}`],
  ['a path of a build machine', `"${['', 'root', 'x.ts'].join('/')}"`],
  ['a note to oneself', `// ${'TO'}${'DO'}: later`],
  ['a note to oneself', `${'FIX'}${'ME'}`],
  ['a test that silences the others', `${'test.'}${'only'}('x', () => {})`],
  ['a test that silences the others', `testWith('nginx')${'.on'}${'ly('}'x')`],
])('%s is refused anywhere: %s', async (what, text) => {
  for (const file of ['docs/a.md', 'web/src/a.tsx', 'package-lock.json', '.ci/run']) {
    expect((await findingsOf(file, `first\n${text}\n`)).join()).toContain(`${file}:2 ${what}`);
    rmSync(join(folder, file));
  }
});

test.each([
  '/root',
  '/srv/images/a.raw',
  'src/work/a.ts',
  '../root/a',
  'https://x.org/work/a',
  '~/work/a',
  'todos',
  'network/roots',
])('%s is left alone anywhere', async (text) => {
  expect(await findingsOf('docs/a.md', text)).toEqual([]);
});

test('what is not ours is not read', async () => {
  const path = ['', 'root', 'x'].join('/');
  expect(await findingsOf('node_modules/a/a.js', path)).toEqual([]);
  expect(await findingsOf('dist/a.js', path)).toEqual([]);
  expect(await findingsOf('a.bin', `\0${path}`)).toEqual([]);
});

test('this tree keeps to its words', async () => {
  const findings = await findWords(root);
  expect(findings.map(({ file, line, what }) => `${file}:${line} ${what}`)).toEqual([]);
});
