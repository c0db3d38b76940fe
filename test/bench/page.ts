import { readFile, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release } from 'node:os';
import { type BenchOptions, type CaseName, caseNames, cases } from './options.ts';
import { sizeOf } from './tables.ts';

const introduction = `# Benchmarks

<!-- Made by \`npm run bench\`, section by section. Run it on a quiet machine. -->

Each section is of the newest run of its case (\`npm run bench -- --help\` names them) and says of which one, when and where. All sides run on the same machine and
filesystem, in turn, each time with everything earlier written back; one round does not count, of the others it is the median. Rates tell little about another
machine: ratios and CPU do. A floor is where users stop complaining.
`;

/** Under a section: where it comes from. Asked once before a run, so that the load is that of others. */
export function provenance({ command, rounds }: BenchOptions, size: number, now: Date): string {
  return [
    `\`${command}\``,
    now.toISOString().slice(0, 10),
    `${rounds} round(s)`,
    `dense image of ${sizeOf(size)}`,
    `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    `Linux ${release()}`,
    `node ${process.version}`,
    `load average before it ${loadavg()[0]?.toFixed(2)}`,
  ].join(' · ');
}

/** The page with this section in the place of the one of the same case; all others stay. */
export function withSection(page: string, name: CaseName, lines: readonly string[]): string {
  const sections = new Map<string, string>();
  for (const text of page.split(/^(?=## )/m)) {
    const title = /^## (.+)$/m.exec(text)?.[1];
    if (title !== undefined) sections.set(title, text.trimEnd());
  }
  sections.set(cases[name].title, [`## ${cases[name].title}`, '', ...lines].join('\n'));
  const ordered = caseNames.map((one) => sections.get(cases[one].title)).filter((text) => text !== undefined);
  return [introduction, ...ordered.map((text) => `${text}\n`)].join('\n');
}

/** Written after each case, so that what is done is kept when a later one fails. */
export async function writeSection(out: string, name: CaseName, lines: readonly string[]): Promise<void> {
  const page = await readFile(out, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  await writeFile(out, withSection(page, name, lines));
}
