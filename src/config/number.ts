import type { Setting } from './settings.ts';

const byteUnits: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

const secondUnits: Readonly<Record<string, number>> = { '': 1, S: 1, M: 60, MIN: 60, H: 3600, D: 86_400 };

/**
 * A number as people write it: `16M` and `16MiB` are 16 · 1024 · 1024 bytes, `16MB` is 16 million;
 * `30`, `30s`, `5m`, `12h` and `7d` are seconds. Undefined when it is none.
 */
export function parseNumber(text: string, unit: Setting['unit']): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)$/i.exec(text.trim().replaceAll('_', ''));
  if (match === null) return undefined;
  const factor = (unit === 'seconds' ? secondUnits : byteUnits)[(match[2] ?? '').toUpperCase()];
  if (factor === undefined) return undefined;
  const value = Number(match[1]) * factor;
  return Number.isSafeInteger(Math.round(value)) ? Math.round(value) : undefined;
}

export function numberForms(unit: Setting['unit']): string {
  return unit === 'seconds'
    ? 'a whole number of seconds (30, 5m, 12h, 7d)'
    : 'a whole number of bytes (1048576, 16M, 2GiB)';
}
