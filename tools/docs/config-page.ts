import { allSettings, type Setting } from '../../src/config/settings.ts';

/** docs/config.md, from the schema. */
export function configPage(): string {
  const settings = allSettings();
  const plain = settings.filter((setting) => setting.items.length === 0);
  const lists = settings.filter((setting) => setting.items.length > 0);
  return `# Configuration

<!-- Made by \`npm run docs\` from src/config/schema.ts. Change it there. -->

A value is taken from the flag, else from the environment, else from the file, else it is the default. The file is
\`$HAWSER_CONFIG\`, or \`hawser.yaml\` in the data folder when it exists. \`hawser config show\` prints every value and where
it came from.

Bytes may be written with a unit: \`16M\` and \`16MiB\` are 16 · 1024 · 1024, \`16MB\` is 16 million; seconds too: \`30\`, \`5m\`,
\`12h\`, \`7d\`. A name that no setting has is refused with the one that was probably meant.

\`\`\`yaml
listen: 127.0.0.1:7800
uploads:
  chunkSize: 16M
stores:
  - name: default
    path: /srv/images
\`\`\`

${table(['setting', 'what it is', 'default', 'variable', 'flag'], plain.map(row))}
${lists.map(listSection).join('\n')}`;
}

function row(setting: Setting): readonly string[] {
  const choices = setting.choices === undefined ? '' : ` One of ${setting.choices.map(code).join(', ')}.`;
  return [
    code(setting.path),
    `${setting.description}${choices}`.trim(),
    usual(setting),
    code(setting.variable),
    code(setting.flag),
  ];
}

function listSection(setting: Setting): string {
  const items = setting.items.map((item) => row(item).slice(0, 3));
  return `## ${code(setting.path)}

${setting.description} As a variable (${code(setting.variable)}) or flag (${code(setting.flag)}) it is written as JSON. Each has:

${table(['setting', 'what it is', 'default'], items)}`;
}

function usual({ usual: value, unit }: Setting): string {
  if (value === undefined) return 'none: it must be given';
  if (value === '') return 'empty';
  if (typeof value === 'number') return code(readable(value, unit));
  return code(typeof value === 'string' ? value : JSON.stringify(value));
}

function readable(value: number, unit: Setting['unit']): string {
  const units =
    unit === 'seconds'
      ? ([
          ['d', 86_400],
          ['h', 3600],
          ['m', 60],
        ] as const)
      : ([
          ['GiB', 2 ** 30],
          ['MiB', 2 ** 20],
        ] as const);
  const [name, factor] = units.find(([, size]) => value >= size && value % size === 0) ?? [
    unit === 'seconds' ? 's' : '',
    1,
  ];
  return `${value / factor}${name}`;
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  return `${line(head)}${line(head.map(() => '---'))}${rows.map(line).join('')}`;
}
