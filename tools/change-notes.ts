import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from './run.ts';

/** What is wrong with the notes in `folder`; changes/README.md says how one is written. */
export async function checkChangeNotes(folder: string): Promise<readonly string[]> {
  const faults: string[] = [];
  const numbers = new Map<string, string>();
  for (const name of (await readdir(folder)).sort()) {
    if (name === 'README.md') continue;
    const number = /^(\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md$/.exec(name)?.[1];
    if (number === undefined) {
      faults.push(`${name}: a note is named NNNN-what-it-is.md, for example 0007-resume-by-range.md.`);
      continue;
    }
    const other = numbers.get(number);
    if (other !== undefined) faults.push(`${name}: the number ${number} is taken by ${other}; use the next free one.`);
    numbers.set(number, name);
    faults.push(...checkNote(await readFile(join(folder, name), 'utf8')).map((fault) => `${name}: ${fault}`));
  }
  return faults;
}

function checkNote(text: string): readonly string[] {
  const [title = '', ...body] = text.split('\n');
  const prose = body.filter((line) => /^[A-Za-z*`-]/.test(line)).join(' ');
  const faults: string[] = [];
  if (!/^# \S.{5,99}$/.test(title))
    faults.push('the first line is "# " and what is new, in one sentence of at most 100 letters.');
  if (prose.length < 40) faults.push('a paragraph says why it matters to a user.');
  if (!/^(```|~~~)/m.test(text)) faults.push('an example, in a fenced block, shows it.');
  return faults;
}

if (import.meta.main) {
  const faults = await checkChangeNotes(join(root, 'changes'));
  for (const fault of faults) console.log(`changes/${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}
