import { isMap, isScalar, LineCounter, type Pair, parseDocument } from 'yaml';
import type { Setting } from './settings.ts';

/** One value found in the file. */
export interface FileValue {
  readonly value: unknown;
  readonly line: number;
}

export interface ConfigFile {
  readonly values: ReadonlyMap<string, FileValue>;
  /** Keys that no setting has. */
  readonly unknown: readonly { readonly path: string; readonly line: number }[];
  /** What is not even YAML. */
  readonly faults: readonly { readonly line: number; readonly message: string }[];
}

/** Reads the YAML text of a configuration file. JSON is YAML too. */
export function readConfigFile(text: string, settings: readonly Setting[]): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const values = new Map<string, FileValue>();
  const unknown: { path: string; line: number }[] = [];
  const faults = document.errors.map((error) => ({
    line: lines.linePos(error.pos[0]).line,
    message: error.message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? error.code,
  }));
  const lineOf = (pair: Pair): number => {
    const range = isScalar(pair.key) ? pair.key.range : undefined;
    return lines.linePos(range?.[0] ?? 0).line;
  };
  const walk = (node: unknown, above: string): void => {
    if (!isMap(node)) return;
    for (const pair of node.items) {
      const path = above === '' ? String(pair.key) : `${above}.${String(pair.key)}`;
      const known = settings.find((setting) => setting.path === path);
      if (known !== undefined) {
        const value: unknown = document.getIn(path.split('.'), false);
        values.set(path, { value: toPlain(value), line: lineOf(pair) });
      } else if (
        settings.some((setting) => setting.path.startsWith(`${path}.`)) &&
        (isMap(pair.value) || isNull(pair.value))
      ) {
        walk(pair.value, path);
      } else {
        unknown.push({ path, line: lineOf(pair) });
      }
    }
  };
  if (faults.length === 0) {
    walk(document.contents, '');
    if (document.contents !== null && !isMap(document.contents) && !isNull(document.contents)) {
      faults.push({ line: 1, message: 'The file must be a mapping, one "name: value" a line' });
    }
  }
  return { values, unknown, faults };
}

function toPlain(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function'
    ? value.toJSON()
    : value;
}

function isNull(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null);
}
