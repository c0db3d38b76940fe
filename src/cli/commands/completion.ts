import type { Command } from 'commander';
import { print } from '../terminal.ts';

/** Prints a completion script: commands, subcommands and flags; files for what is neither. */
export function completion(shell: 'bash' | 'zsh' | 'fish', program: Command): void {
  const rows = rowsOf(program, []);
  const scripts = {
    bash: () => bash(rows),
    zsh: () => `autoload -U +X bashcompinit && bashcompinit\n${bash(rows)}`,
    fish: () => fish(rows),
  };
  print(scripts[shell]());
}

interface Row {
  /** `image ls`; empty for the program itself. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly about: string }[];
}

function rowsOf(command: Command, path: readonly string[]): readonly Row[] {
  const below = command.commands.map((each) => ({ word: each.name(), about: each.description() }));
  const flags = command.options.map(({ description, long, short }) => ({
    word: long ?? short ?? '',
    about: description,
  }));
  const own = { path: path.join(' '), words: [...below, ...flags] };
  return [own, ...command.commands.flatMap((each) => rowsOf(each, [...path, each.name()]))];
}

function bash(rows: readonly Row[]): string {
  const cases = rows.map(({ path, words }) => `    '${path}') words='${words.map(({ word }) => word).join(' ')}' ;;`);
  return `_hawser() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path='' words='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) [[ $i -le 2 ]] && path="\${path:+$path }\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
    *) case "\${path%% *}" in
${rows
  .filter(({ path }) => path !== '' && !path.includes(' '))
  .map(({ path, words }) => `      '${path}') words='${words.map(({ word }) => word).join(' ')}' ;;`)
  .join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _hawser hawser`;
}

function fish(rows: readonly Row[]): string {
  return rows
    .flatMap(({ path, words }) =>
      words.map(({ about, word }) => {
        const parts = path.split(' ').filter((part) => part !== '');
        const names = words.filter((each) => !each.word.startsWith('-')).map((each) => each.word);
        const seen = parts.map((part) => `__fish_seen_subcommand_from ${part}`);
        const notYet = names.length === 0 ? [] : [`not __fish_seen_subcommand_from ${names.join(' ')}`];
        const when = [...seen, ...(word.startsWith('-') ? [] : notYet)].join('; and ');
        const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-f -a ${word}`;
        return `complete -c hawser${when === '' ? '' : ` -n '${when}'`} ${what} -d '${about.replaceAll("'", '’')}'`;
      }),
    )
    .join('\n');
}
