import { readdir, readFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import ts from 'typescript';
import { root } from './run.ts';

/**
 * The word check. In the parts that have our own words (docs/words.md) four foreign ones may not be
 * identifiers, or parts of one; in the whole tree some texts may not stand at all.
 */
export interface Finding {
  readonly file: string;
  readonly line: number;
  readonly what: string;
  /** What to do instead. */
  readonly instead: string;
}

const foreignWords: Readonly<Record<string, string>> = {
  disk: 'Say Image, Volume or Store, whichever it is.',
  backend: 'Say Store, driver or link, whichever it is.',
  job: 'Say Task, or Work for what wakes it.',
  session: 'Say login, Upload or Ticket, whichever it is.',
};
const ownWordsOnly = /^src\/(core|engine|stores|service|db)\//;

/** Names that others gave and that must be written as they are (such as a package's own types), each with the reason. */
const allowedNames: readonly { readonly file: RegExp; readonly name: string; readonly why: string }[] = [];

const forbiddenTexts: readonly { readonly what: string; readonly pattern: RegExp; readonly instead: string }[] = [
  {
    what: 'the host name of a registry',
    pattern:
      /\b(registry\.[a-z]+js\.org|registry\.yarnpkg\.\w+|deb\.debian\.\w+|security\.debian\.\w+|files\.pythonhosted\.\w+|(?:ghcr|quay|docker)\.io)\b/i,
    instead: 'A registry is the business of whoever installs. Name the package only.',
  },
  {
    what: 'a path of a build machine',
    pattern: /(?<![\w./~-])\/(?:work|root|home\/(?!user\b|you\b|me\b)\w+)\/[\w.]/,
    instead: 'Use a path below the project, a folder for temporary files, or an example such as /srv/images.',
  },
  {
    what: 'a note to oneself',
    pattern: /\b(?:TO[D]O|FIX[M]E|XX[X])\b/,
    instead: 'Do it, or open an issue and name nothing here.',
  },
  {
    what: 'a test that silences the others',
    pattern: /(?:\b(?:test|it|describe|suite)|\))\.only\(/,
    instead: 'Remove it.',
  },
];

const skippedFolders = new Set(['node_modules', 'dist', '.git', '.cache']);
const MAX_TEXT = 4 * 1024 * 1024;

export async function findWords(folder: string): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const file of await textFiles(folder)) {
    const text = await readText(join(folder, file));
    if (text === undefined) continue;
    findings.push(...forbiddenIn(file, text));
    if (ownWordsOnly.test(file)) findings.push(...foreignNamesIn(file, text));
  }
  return findings;
}

function forbiddenIn(file: string, text: string): readonly Finding[] {
  const found: Finding[] = [];
  for (const { what, pattern, instead } of forbiddenTexts) {
    if (!pattern.test(text)) continue;
    for (const [i, line] of text.split('\n').entries()) {
      const match = pattern.exec(line);
      if (match !== null) found.push({ file, line: i + 1, what: `${what}: ${match[0]}`, instead });
    }
  }
  return found;
}

function foreignNamesIn(file: string, text: string): readonly Finding[] {
  const found: Finding[] = [];
  const report = (name: string, line: number) => {
    const word = partsOf(name).find((part) => Object.hasOwn(foreignWords, part));
    if (word === undefined || allowedNames.some((allowed) => allowed.name === name && allowed.file.test(file))) return;
    found.push({ file, line, what: `"${word}" in ${name}`, instead: foreignWords[word] ?? '' });
  };
  report(basename(file).replace(/\..*$/, ''), 1);
  if (!/\.tsx?$/.test(file)) return found;
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, false);
  const visit = (node: ts.Node) => {
    if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) {
      report(node.text, source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** `localDisks`, `LOCAL_DISKS`, `local-disks` → local, disk. */
function partsOf(name: string): readonly string[] {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replaceAll(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .split(/[^A-Za-z0-9]+/)
    .map((part) => part.toLowerCase().replace(/\d+$/, '').replace(/s$/, ''));
}

async function textFiles(folder: string): Promise<readonly string[]> {
  const files: string[] = [];
  const waiting = [folder];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    for (const entry of await readdir(place, { withFileTypes: true })) {
      if (entry.isDirectory() && !skippedFolders.has(entry.name)) waiting.push(join(place, entry.name));
      else if (entry.isFile() && !entry.name.endsWith('.log')) files.push(relative(folder, join(place, entry.name)));
    }
  }
  return files.sort();
}

async function readText(path: string): Promise<string | undefined> {
  const bytes = await readFile(path);
  return bytes.length > MAX_TEXT || bytes.subarray(0, 8192).includes(0) ? undefined : bytes.toString('utf8');
}

if (import.meta.main) {
  const findings = await findWords(root);
  for (const { file, line, what, instead } of findings) console.log(`${file}:${line} ${what}. ${instead}`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}
