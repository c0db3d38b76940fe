import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The folder of the built page, or undefined when it was not built. */
export function webRoot(): string | undefined {
  const folder = fileURLToPath(new URL('../../dist/web', import.meta.url));
  return existsSync(`${folder}/index.html`) ? folder : undefined;
}
