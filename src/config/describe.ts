import { type LoadedConfig, placeOf } from './load.ts';
import { allSettings } from './settings.ts';

export interface DescribedSetting {
  readonly path: string;
  /** As `hawser config show` prints it; secrets are masked. */
  readonly value: unknown;
  /** `default`, `flag --listen`, `variable HAWSER_LISTEN`, or the file and its line. */
  readonly source: string;
}

/** Every setting with its value and where that came from. Passwords are masked. */
export function describeConfig({ config, sources }: LoadedConfig): readonly DescribedSetting[] {
  return allSettings().map(({ path }) => ({
    path,
    value: masked(path, valueAt(config, path)),
    source: placeOf(sources[path] ?? { kind: 'default' }),
  }));
}

function valueAt(config: object, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>(
      (node, key) => (typeof node === 'object' && node !== null ? Reflect.get(node, key) : undefined),
      config,
    );
}

/** A connection URL may carry its password before the @ or as a parameter. */
function masked(path: string, value: unknown): unknown {
  if (path !== 'databaseUrl' || typeof value !== 'string') return value;
  return value.replace(/^([a-z]+:\/\/[^:@/]*):.*@/i, '$1:***@').replace(/([?&](?:ssl)?password=)[^&]*/gi, '$1***');
}
