import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { configPage } from './docs/config-page.ts';
import { errorsPage } from './docs/errors-page.ts';

/** Pages that are made from code, by their path below the project. */
export const generatedPages: Readonly<Record<string, () => string>> = {
  'docs/config.md': configPage,
  'docs/errors.md': errorsPage,
};

/** The pages that are not what the code says now. */
export function stalePages(): readonly string[] {
  return Object.entries(generatedPages)
    .filter(([path, make]) => read(path) !== make())
    .map(([path]) => path);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(placeOf(path), 'utf8');
  } catch {
    return undefined;
  }
}

function placeOf(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}

/** `node tools/docs.ts` writes them; with `--check` it only looks and fails when one is stale. */
function main(check: boolean): void {
  const stale = stalePages();
  if (check && stale.length > 0) {
    console.error(`Stale: ${stale.join(', ')}. Type: npm run docs`);
    process.exitCode = 1;
    return;
  }
  for (const [path, make] of Object.entries(generatedPages))
    if (stale.includes(path)) writeFileSync(placeOf(path), make());
  console.log(stale.length === 0 ? 'The pages are fresh.' : `Written: ${stale.join(', ')}.`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.includes('--check'));
