import type { Command } from 'commander';
import { print } from '../terminal.ts';

/**
 * Prints a completion script: commands and flags at each level, what an argument or a flag may be where that is
 * known, files for the rest. The scripts walk the words that were typed; a word that is the value of a flag is
 * never taken for a command.
 */
export function completion(shell: 'bash' | 'zsh' | 'fish', program: Command): void {
  const tree = treeOf(program);
  const scripts = { bash, zsh, fish };
  print(scripts[shell](tree));
}

interface Offer {
  readonly word: string;
  readonly about: string;
}

interface Flag extends Offer {
  readonly takesValue: boolean;
}

interface Place {
  /** `image ls`; empty for the program itself. */
  readonly path: string;
  /** Commands below, or what its argument may be. */
  readonly words: readonly Offer[];
  readonly flags: readonly Flag[];
}

interface Tree {
  readonly places: readonly Place[];
  readonly valueFlags: readonly string[];
}

function treeOf(program: Command): Tree {
  const places = placesOf(program, [], flagsOf(program));
  const taking = places.flatMap(({ flags }) => flags.filter(({ takesValue }) => takesValue));
  return { places, valueFlags: [...new Set(taking.map(({ word }) => word))] };
}

function placesOf(command: Command, path: readonly string[], everywhere: readonly Flag[]): readonly Place[] {
  const below = command.commands.map((each) => ({ word: each.name(), about: each.description() }));
  const choices = command.registeredArguments.flatMap(({ argChoices = [], description }) =>
    argChoices.map((word) => ({ word, about: description })),
  );
  const flags = path.length === 0 ? everywhere : [...flagsOf(command), ...everywhere];
  const own = { path: path.join(' '), words: [...below, ...choices], flags };
  return [own, ...command.commands.flatMap((each) => placesOf(each, [...path, each.name()], everywhere))];
}

function flagsOf(command: Command): readonly Flag[] {
  return command.options.map(({ description, long, optional, required, short }) => ({
    word: long ?? short ?? '',
    about: description,
    takesValue: required || optional,
  }));
}

function bash({ places, valueFlags }: Tree): string {
  const words = (offers: readonly Offer[]) => offers.map(({ word }) => word).join(' ');
  const cases = places.map(
    (place) =>
      `    '${place.path}') [[ $current == -* ]] && words='${words(place.flags)}' || words='${words(place.words)}' ;;`,
  );
  return `_hawser() {
  local current="\${COMP_WORDS[COMP_CWORD]}" at='' words='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i - 1]}" in ${valueFlags.join('|')}) continue ;; esac
    case "\${at:+$at }\${COMP_WORDS[i]}" in
      ${pathPattern(places)}) at="\${at:+$at }\${COMP_WORDS[i]}" ;;
    esac
  done
  case "\${COMP_WORDS[COMP_CWORD - 1]}" in ${valueFlags.join('|')}) return ;; esac
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _hawser hawser`;
}

/** `path` would be PATH in zsh, and `words` what was typed. */
function zsh({ places, valueFlags }: Tree): string {
  const quoted = ({ about, word }: Offer) => `'${word.replaceAll(':', '\\:')}:${about.replaceAll("'", '’')}'`;
  const cases = places.map(
    ({ flags, path, words }) =>
      `    ('${path}') offers=(${words.map(quoted).join(' ')}); flags=(${flags.map(quoted).join(' ')}) ;;`,
  );
  return `#compdef hawser
_hawser() {
  local at='' before='' word
  local -a offers flags
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$before" in (${valueFlags.join('|')}) before=''; continue ;; esac
    before="$word"
    case "\${at:+$at }$word" in
      (${pathPattern(places)}) at="\${at:+$at }$word" ;;
    esac
  done
  case "$before" in (${valueFlags.join('|')}) _files; return ;; esac
  case "$at" in
${cases.join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe -o flag flags
  elif (( $#offers )); then
    _describe command offers
  else
    _files
  fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D }
compdef _hawser hawser`;
}

function fish({ places, valueFlags }: Tree): string {
  const text = (about: string) => about.replaceAll("'", '’');
  const lines = places.flatMap(({ flags, path, words }) => {
    const here = `complete -c hawser -n "__hawser_at '${path}'"`;
    return [
      ...words.map(({ about, word }) => `${here} -f -a ${word} -d '${text(about)}'`),
      ...flags.map(({ about, takesValue, word }) => {
        const flag = word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`;
        return `${here} ${flag}${takesValue ? ' -r' : ''} -d '${text(about)}'`;
      }),
    ];
  });
  const paths = places.filter(({ path }) => path !== '').map(({ path }) => `'${path}'`);
  return `function __hawser_at
  set -l at ''
  set -l before ''
  set -l typed (commandline -opc)
  set -e typed[1]
  for word in $typed
    if contains -- "$before" ${valueFlags.join(' ')}
      set before ''
      continue
    end
    set before $word
    set -l next (string trim -- "$at $word")
    if contains -- "$next" ${paths.join(' ')}
      set at $next
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join('\n')}`;
}

function pathPattern(places: readonly Place[]): string {
  return places
    .filter(({ path }) => path !== '')
    .map(({ path }) => `'${path}'`)
    .join('|');
}
