import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { allSettings } from '../../src/config/settings.ts';
import { errorCatalogue } from '../../src/core/errors.ts';
import { stalePages } from '../../tools/docs.ts';

const page = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');

test('the generated pages say what the code says; otherwise type: npm run docs', () => {
  expect(stalePages()).toEqual([]);
});

test('every error code has a row', () => {
  const text = page('errors.md');
  for (const code of Object.keys(errorCatalogue)) expect(text).toContain(`| \`${code}\` |`);
});

test('every setting has a row and a description', () => {
  const text = page('config.md');
  for (const setting of allSettings()) {
    expect(text).toContain(setting.path);
    expect(setting.description, setting.path).not.toBe('');
  }
});
