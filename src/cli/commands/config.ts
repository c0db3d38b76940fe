import { describeConfig } from '../../config/describe.ts';
import { outWidth, print, printJson } from '../terminal.ts';
import { table } from '../text.ts';
import { loadOwnConfig, type SettingOptions } from './serve.ts';

/** `hawser config show`: what a serve with this command line, environment and file would use. */
export async function showConfig(options: SettingOptions): Promise<void> {
  const settings = describeConfig(await loadOwnConfig(options));
  if (options.json === true) return printJson({ items: settings });
  const rows = settings.map(({ path, source, value }) => [path, JSON.stringify(value), source]);
  print(table(['SETTING', 'VALUE', 'FROM'], rows, outWidth()));
}
