import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkChangeNotes } from '../../tools/change-notes.ts';
import { root } from '../../tools/run.ts';

const good =
  '# Downloads resume\n\nA download that broke goes on where it stopped, instead of from the start.\n\n```\nhawser download a b\n```\n';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hawser-notes-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function note(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

test('a good note is left alone', async () => {
  note('0001-downloads-resume.md', good);
  note('README.md', 'anything');
  expect(await checkChangeNotes(folder)).toEqual([]);
});

test.each([
  ['downloads.md', good, /named NNNN/],
  ['0002-Downloads.md', good, /named NNNN/],
  ['0002-x.txt', good, /named NNNN/],
  ['0002-x.md', good.replace('# D', 'D'), /first line/],
  ['0002-x.md', good.replace(/A download.*/, ''), /why it matters/],
  ['0002-x.md', good.replaceAll('```', ''), /example/],
])('%s is refused', async (name, text, expected) => {
  note('0001-downloads-resume.md', good);
  note(name, text);
  expect((await checkChangeNotes(folder)).join()).toMatch(expected);
});

test('a number is used once', async () => {
  note('0001-a.md', good);
  note('0001-b.md', good);
  expect((await checkChangeNotes(folder)).join()).toMatch(/taken by 0001-a\.md/);
});

test('our own notes are good', async () => {
  expect(await checkChangeNotes(join(root, 'changes'))).toEqual([]);
});
