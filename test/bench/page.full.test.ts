import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { benchHelp, benchOptions, caseNames, cases } from './options.ts';
import { writeSection } from './page.ts';

const titles = (page: string) => [...page.matchAll(/^## (.+)$/gm)].map(([, title]) => title);

test('a run of one case replaces its section alone, and sections lie in the order of the cases', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-bench-page-'));
  try {
    const page = join(folder, 'benchmarks.md');
    for (const name of [...caseNames].reverse()) await writeSection(page, name, [`first ${name}`, '', '| a |']);
    const before = await readFile(page, 'utf8');
    expect(titles(before)).toEqual(caseNames.map((name) => cases[name].title));
    await writeSection(page, 'sparse', ['second sparse']);
    const after = await readFile(page, 'utf8');
    expect(after).toBe(before.replace('first sparse\n\n| a |', 'second sparse'));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('sections of cases that are no more go', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hawser-bench-page-'));
  try {
    const page = join(folder, 'benchmarks.md');
    await writeFile(page, '# Benchmarks\n\n## Gone\n\nold\n\n## Sparse\n\nkept\n');
    await writeSection(page, 'put', ['new']);
    const text = await readFile(page, 'utf8');
    expect(titles(text)).toEqual(['PUT', 'Sparse']);
    expect(text).toContain('\n## Sparse\n\nkept\n');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the help names every case, and --only takes every case', () => {
  for (const name of caseNames) {
    expect(benchHelp).toContain(`\n  ${name} `);
    expect(benchOptions(['--only', name])).toMatchObject({ only: [name] });
  }
  expect(() => benchOptions(['--only', 'everything'])).toThrow(/found "everything"/);
});
