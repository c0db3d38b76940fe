import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect } from 'vitest';
import { testWith } from '../../test/needs.ts';

const run = promisify(execFile);
const hawser = fileURLToPath(new URL('../../bin/hawser', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hawser-completion-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function script(shell: string): Promise<string> {
  const { stdout } = await run(hawser, ['completion', shell]);
  const path = join(folder, shell);
  await writeFile(path, stdout);
  return path;
}

/** What is typed, and what must be among the offers, and what must not. */
const cases = [
  { typed: ['hawser', ''], offered: ['upload', 'host', 'import'], not: ['drain', 'copies'] },
  { typed: ['hawser', 'host', 'dr'], offered: ['drain'], not: ['disable', 'undrain'] },
  { typed: ['hawser', '--server', 'image', 'host', ''], offered: ['drain', 'token'], not: ['copies'] },
  { typed: ['hawser', 'host', 'token', ''], offered: ['create', 'ls', 'rm'], not: ['drain'] },
  { typed: ['hawser', 'image', 'copies', 'debian', '--a'], offered: ['--add'], not: ['--remove'] },
  { typed: ['hawser', 'store', 'ls', '--js'], offered: ['--json'], not: ['--quiet'] },
  { typed: ['hawser', 'completion', ''], offered: ['bash', 'zsh', 'fish'], not: ['upload'] },
] as const;

testWith()('bash completes commands, flags and known arguments at every level', async () => {
  const path = await script('bash');
  for (const { not, offered, typed } of cases) {
    const words = typed.map((word) => `'${word}'`).join(' ');
    const { stdout } = await run('bash', [
      '--norc',
      '-c',
      `source ${path}; COMP_WORDS=(${words}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _hawser; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ]);
    expect(stdout.split('\n')).toEqual(expect.arrayContaining([...offered]));
    for (const word of not) expect(stdout.split('\n')).not.toContain(word);
  }
});

testWith('fish')('fish completes commands, flags and known arguments at every level', async () => {
  const path = await script('fish');
  for (const { not, offered, typed } of cases) {
    const { stdout } = await run('fish', ['--no-config', '-c', `source ${path}; complete -C '${typed.join(' ')}'`]);
    const words = stdout.split('\n').map((line) => line.split('\t')[0]);
    expect(words).toEqual(expect.arrayContaining([...offered]));
    for (const word of not) expect(words).not.toContain(word);
  }
});

/** In a terminal of its own, as a person has it: Tab must finish a beginning that only one word has. */
testWith('zsh')('zsh completes commands, flags and known arguments at every level', async () => {
  const path = await script('zsh');
  const lines = [
    ['hawser hos', 'hawser host '],
    ['hawser host dr', 'hawser host drain '],
    ['hawser --server image host und', 'hawser --server image host undrain '],
    ['hawser host token cr', 'hawser host token create '],
    ['hawser image copies debian --ad', 'hawser image copies debian --add '],
    ['hawser store ls --js', 'hawser store ls --json '],
    ['hawser completion fi', 'hawser completion fish '],
    ['hawser image ls zz', 'hawser image ls zz'],
  ] as const;
  const driver = join(folder, 'driver');
  // Ctrl-T says what the line is now; Ctrl-U empties it.
  await writeFile(
    driver,
    `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=READ; PS1+="Y "; say() { print -r -- "LINE<$BUFFER>" }; zle -N say; bindkey "^T" say; source ${path}'
zpty -r -m shell seen '*READY *'
for typed in ${lines.map(([typed]) => `'${typed}'`).join(' ')}; do
  zpty -w -n shell "$typed"$'\\t\\x14\\x15'
  zpty -r -m shell seen '*LINE<*>*'
  print -r -- "\${\${seen##*LINE<}%%>*}"
done
zpty -d shell
`,
  );
  const { stdout } = await run('zsh', ['-f', driver], { env: { ...process.env, HOME: folder, TERM: 'dumb' } });
  expect(stdout.split('\n').slice(0, -1)).toEqual(lines.map(([, finished]) => finished));
});
